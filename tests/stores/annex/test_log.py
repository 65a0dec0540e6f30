"""The location log of an annex store: what is written when, and committed when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.git_annex.branch.branch import Branch
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.disk_work import DiskWork, Inline, InThreads
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, UUID, annex
from tests.support.git import git

MORE = key_of(b"more")


async def test_changes_are_logged_before_they_are_reported_and_committed_at_the_end(repository: Path) -> None:
    log = f"{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log"
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        (journal,) = (annex(repository) / "journal").iterdir()
        assert journal.read_text().endswith(f"s 1 {UUID}\n")
    assert [*(annex(repository) / "journal").iterdir()] == []
    assert git(repository, "show", f"git-annex:{log}").endswith(f"s 1 {UUID}\n")
    async with AnnexStore(repository, disk_work=Inline()) as one:
        assert (await one.remove(KEY)).ok
        (journal,) = (annex(repository) / "journal").iterdir()
        assert f"s 0 {UUID}\n" in journal.read_text()
    assert f"s 0 {UUID}\n" in git(repository, "show", f"git-annex:{log}")


async def test_the_log_is_committed_when_nothing_happens_any_more(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        with trio.fail_after(30):
            while [*(annex(repository) / "journal").iterdir()]:  # noqa: ASYNC110 - git works in a process of its own
                await trio.sleep(0.1)
        assert UUID in git(repository, "show", f"git-annex:{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log")


async def test_committed_without_a_block(repository: Path) -> None:
    one = AnnexStore(repository)
    await store(one, CONTENT, KEY)
    assert list((annex(repository) / "journal").iterdir())
    await one.aclose()
    assert not list((annex(repository) / "journal").iterdir())


@pytest.mark.parametrize("way", [InThreads, Inline])
async def test_a_line_of_others_that_came_late_is_corrected(repository: Path, way: type[DiskWork]) -> None:
    """git-annex logs after having stored or removed the content, and then both may not be true any more."""
    async with AnnexStore(repository, disk_work=way()) as one, Branch(one.config.git_dir) as late:
        await store(one, CONTENT, KEY)
        await late.log_location(KEY, UUID, False)
        await store(one, b"more", MORE)
        assert (await one.remove(MORE)).ok
        await late.log_location(MORE, UUID, True)
        await late.commit()
    async with Branch(one.config.git_dir) as branch:
        assert await branch.locations(KEY) == {UUID}
        assert await branch.locations(MORE) == set()
