"""A git-annex repository that several users share, and one that others may only read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.service import Upload
from p2pannex.stores.annex.store import AnnexStore
from tests.stores.annex.repository import CONTENT, KEY, annex, make, mode
from tests.support.other_user import OTHER, locking, needs_root, reachable

UPLOAD = """
import os, sys, trio
from p2pannex.keys.key import Key
from p2pannex.stores.annex.store import AnnexStore
async def main():
    async with AnnexStore(sys.argv[1]) as store:
        upload = await store.put(Key(sys.argv[2].encode()))
        content = sys.argv[3].encode()[upload.offset:]
        async with upload:
            await upload.begin(len(content))
            await upload.send_all(memoryview(content[:int(sys.argv[4])]))
            if int(sys.argv[4]) >= len(content):
                print(await upload.finish(True))
trio.run(main)
"""


def as_member(user: int, group: int, repository: Path, count: int) -> str:
    """Upload the content, or a part of it, as a user of the group."""
    command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", sys.executable, "-c", UPLOAD]
    environment = {**os.environ, "HOME": str(repository), "GIT_CONFIG_COUNT": "1"}
    environment |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*command, repository, str(KEY), CONTENT.decode(), str(count)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
@pytest.mark.parametrize("partial_mode", [None, 0o644, 0o600])
def test_one_members_partial_does_not_block_another(partial_mode: int | None) -> None:
    with reachable() as directory:
        repository = make(directory / "r", "--shared=group", **{"core.sharedRepository": "group"})
        subprocess.run(["chown", "-R", f"{OTHER}:12345", repository], check=True)
        subprocess.run(["chmod", "-R", "g+rwX", repository], check=True)
        as_member(OTHER, 12345, repository, 3)
        partial = annex(repository) / "tmp" / os.fsdecode(KEY.file_name)
        assert mode(partial) & 0o660 == 0o660
        assert partial.read_bytes() == CONTENT[:3]
        if partial_mode is not None:
            partial.chmod(partial_mode)  # as git-annex, or an earlier version, leaves one
        assert "Stored" in as_member(OTHER - 1, 12345, repository, 100)
        own = annex(repository) / "p2pannex"
        assert mode(own) & 0o777 == 0o770


@needs_root
async def test_those_who_may_only_read_cannot_stop_it() -> None:
    before = os.umask(0o022)
    try:
        with reachable() as directory:
            repository = make(directory / "r")
            async with AnnexStore(repository) as store:
                upload = await store.put(KEY)
                assert isinstance(upload, Upload)
                await upload.begin(len(CONTENT))
                await upload.send_all(memoryview(CONTENT[:3]))
                await upload.aclose()
                with locking(repository, *(path for path in repository.rglob("*") if path.suffix != ".lck")) as held:
                    assert held > 5
                    upload = await store.put(KEY)
                    assert isinstance(upload, Upload)
                    assert upload.offset == 3
                    async with upload:
                        await upload.begin(len(CONTENT) - 3)
                        await upload.send_all(memoryview(CONTENT[3:]))
                        await upload.finish(True)
                    retained = await store.lock(KEY)
                    await retained.release()
                    assert (await store.remove(KEY)).ok
            assert stat.S_IMODE((annex(repository) / "p2pannex").stat().st_mode) == 0o700
            assert stat.S_IMODE((annex(repository) / "journal.lck").stat().st_mode) == 0o600
    finally:
        os.umask(before)
