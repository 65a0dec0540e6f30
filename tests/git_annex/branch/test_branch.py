"""The git-annex branch: read and written beside git, in repositories that git made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.logs.names import location_log_path
from tests.git_annex.branch.repositories import push
from tests.git_annex.logs.examples import KEY, A, B
from tests.support.git import git


def test_the_pure_parts_do_not_load_trio() -> None:
    branch = "p2pannex.git_annex.branch"
    program = f"import sys, {branch}.commit, {branch}.cat_file, {branch}.journal; print('trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_a_change_is_read_back_before_and_after_its_commit(repository: Path) -> None:
    async with Branch(BlockingBranch(repository)) as branch:
        assert await branch.read(b"uuid.log") == b""
        assert await branch.locations(KEY) == set()
        assert await branch.commit() is False
        assert await branch.log_location(KEY, A, True) is True
        assert await branch.log_location(KEY, A, True) is False
        assert await branch.log_location(KEY, B, False) is True, "that it is absent is news, as it is to git-annex"
        assert await branch.locations(KEY) == {A}
        assert git(repository, "for-each-ref") == ""
        assert await branch.commit("a message") is True
        assert await branch.locations(KEY) == {A}
        assert await branch.commit() is False
        assert await branch.log_location(KEY, A, False) is True
        await branch.commit()
        assert await branch.locations(KEY) == set()
    assert os.listdir(repository / "annex/journal") == []
    assert os.listdir(repository / "annex/p2pannex") == []
    assert (repository / "annex/index.lck").read_text() == git(repository, "rev-parse", "git-annex")
    assert git(repository, "log", "--format=%s", "git-annex") == "update\na message\nbranch created\n"
    assert git(repository, "fsck", "--strict") == ""


async def test_logs_of_any_path(repository: Path) -> None:
    async with Branch(BlockingBranch(repository)) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        push(repository, b"uuid.log", b"x\n")
        assert await branch.read(b"uuid.log") == b"x\n"
        for path in (
            b"",
            b"none",
            b"aaa/bbb/none",
            location_log_path(KEY)[:3],
            location_log_path(KEY) + b"/x",
            b"a\nb",
        ):
            assert await branch.read(path) == b""
        assert await branch.read(b"x" * 5000) == b""


async def test_tasks_that_change_one_log_lose_nothing(repository: Path) -> None:
    async with (
        Branch(BlockingBranch(repository)) as one,
        Branch(BlockingBranch(repository)) as other,
        trio.open_nursery() as nursery,
    ):
        uuids = {f"u{n}" for n in range(40)}

        async def change(uuid: str, branch: Branch) -> None:
            await branch.log_location(KEY, uuid, True)
            await branch.commit()

        for n, uuid in enumerate(sorted(uuids)):
            nursery.start_soon(change, uuid, one if n % 2 else other)
    async with Branch(BlockingBranch(repository)) as branch:
        assert await branch.locations(KEY) == uuids
    assert os.listdir(repository / "annex/journal") == []


@pytest.mark.parametrize("uuid", ["", "a b", "a\nb"])
def test_what_is_no_uuid(blocking: BlockingBranch, uuid: str) -> None:
    with pytest.raises(ValueError, match="uuid"):
        blocking.log_location(KEY, uuid, True)


async def test_a_change_is_logged_though_the_task_is_cancelled(repository: Path, blocking: BlockingBranch) -> None:
    """What it says has already happened."""
    async with Branch(BlockingBranch(repository, lock_timeout=20)) as branch, trio.open_nursery() as nursery:
        with blocking.journal.lock():
            nursery.start_soon(branch.log_location, KEY, A, True)
            await trio.sleep(0.1)
            nursery.start_soon(branch.log_location, KEY, B, True)  # it waits for the other task
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
    assert blocking.locations(KEY) == {A, B}
