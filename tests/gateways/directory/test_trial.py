"""What the trial of a node finds, and that it leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import p2pannex
from p2pannex.access import Mode
from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.trial import READ_ONLY, try_requests, try_storing
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.external.store import ExternalStore
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.serving import served
from p2pannex.urls import open_url
from tests.support.special_remotes import PLAIN


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


async def test_a_store_is_left_as_it_was(tmp_path: Path) -> None:
    async with DirectoryStore.create(tmp_path / "store") as store:
        assert await try_requests(store) == ""
        before = files(tmp_path)
        assert await try_requests(store) == ""
        assert files(tmp_path) == before
        assert store.contents().keys == store.contents().partials == 0


@pytest.mark.parametrize("version", range(5))
async def test_a_remote_repository_of_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], version: int
) -> None:
    """The server notices nothing unusual, except at version 0, where only the end of the connection ends an upload."""
    DirectoryStore.create(tmp_path / "store")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(p2pannex.__file__)))
    url = f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path}/store client"
    async with await open_url(url, version=version, connections=1) as remote:
        assert await try_requests(remote) == ""
        assert await try_requests(remote) == ""
    assert version == 0 or capfd.readouterr().err == ""


@pytest.mark.parametrize(("mode", "remark"), [(Mode.READ_ONLY, READ_ONLY), (Mode.APPEND_ONLY, "")])
async def test_access_modes_are_no_failures(mode: Mode, remark: str) -> None:
    async with served(MemoryStore(), mode=mode) as remote:
        assert await try_requests(remote) == remark


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    async with DirectoryStore.create(tmp_path / "store") as store:
        (tmp_path / "store/annex/tmp").chmod(0o500)
        with pytest.raises(RemoteError, match="permission denied"):
            await try_requests(store)


async def test_a_full_disk(tmp_path: Path) -> None:
    async with DirectoryStore.create(tmp_path / "store", disk_reserve=1 << 60) as store:
        with pytest.raises(RemoteError, match="not enough disk space"):
            await try_requests(store)


class _Clueless(MemoryStore):
    async def check_present(self, key: object) -> bool:
        raise RemoteError("cannot tell")


async def test_a_service_that_replies_to_nothing_else() -> None:
    with pytest.raises(RemoteError, match="cannot tell"):
        await try_requests(_Clueless())


# Special remotes ----------------------------------------------------------------------------------------------------


def special(tmp_path: Path, **trouble: str) -> ExternalStore:
    """A special remote that misbehaves at the requests named in `trouble`."""
    (tmp_path / "trouble").mkdir(exist_ok=True)
    for verb, how in trouble.items():
        (tmp_path / "trouble" / verb).write_text(f"{how} always")
    return ExternalStore(
        "u",
        [sys.executable, "-I", "-S", str(PLAIN), "2"],
        {"directory": str(tmp_path / "cloud")},
        tmp_path / "spool",
        tmp_path / "state",
        name="cloud",
        environment={**os.environ, "TROUBLE": str(tmp_path / "trouble")},
    )


async def test_a_special_remote_is_left_empty(tmp_path: Path) -> None:
    async with special(tmp_path) as store:
        assert await try_requests(store) == ""
        assert await try_storing(store) == ""
    assert files(tmp_path / "cloud") == files(tmp_path / "spool") == []


@pytest.mark.parametrize(
    ("verb", "how", "where", "problem"),
    [
        ("CHECKPRESENT", "unknowable-only", try_requests, "cannot tell whether the content is present: "),
        ("TRANSFER", "fail-only", try_storing, "cannot store the content: "),
        ("TRANSFER", "nothing-only", try_storing, "and then that the content is absent"),
    ],
)
async def test_a_program_that_only_starts(tmp_path: Path, verb: str, how: str, where: object, problem: str) -> None:
    async with special(tmp_path, **{verb: how}) as store:
        assert await store.availability()
        with pytest.raises(RemoteError, match=problem):
            await where(store)  # type: ignore[operator]
    assert files(tmp_path / "spool") == []


async def test_a_program_that_cannot_remove(tmp_path: Path) -> None:
    async with special(tmp_path, REMOVE="fail-only") as store:
        remark = await try_storing(store)
    (left,) = files(tmp_path / "cloud")
    key = left.name.rpartition("_")[2]
    assert remark.startswith("it cannot remove content (special remote cloud cannot remove the content: ")
    assert remark.endswith(f"): {key} stays there")
