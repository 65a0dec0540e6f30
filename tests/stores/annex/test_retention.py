"""How long content is kept for clients that locked it, and the files that say so."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from p2pannex.service import NotLocked
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import store
from tests.stores.annex.repository import CONTENT, KEY, beside, locked, mode
from tests.support.clocks import ManualClock


async def test_files_of_a_lock(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        async with await locked(one):
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}
            path = one.layout.find(KEY)
            assert Path(os.fsdecode(path + b".rtm")).read_bytes() == b"%.6fs" % (clock.wall() + 600)
            assert mode(os.path.dirname(path)) == 0o555
            with open(path + b".lck", "rb+") as file:
                assert try_range(file.fileno(), fcntl.F_RDLCK), "others may keep it too"
                assert not try_range(file.fileno(), fcntl.F_WRLCK), "nobody may remove it"
        assert beside(one) == {""}
        assert mode(os.path.dirname(path)) == 0o555


async def test_one_unlock_does_not_end_what_a_lost_client_was_promised(repository: Path) -> None:
    """There is one time for all locks in git-annex's file: it stays while any promise is left."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        lost = await locked(one)
        await lost.aclose()
        clock.advance(100)
        async with await locked(other):
            pass
        assert ".rtm" in beside(one)
        assert not (await other.remove(KEY)).ok
        clock.advance(499)
        assert not (await other.remove(KEY)).ok
        clock.advance(102)  # the second promise was for longer, and its time stood for both
        assert (await one.remove(KEY)).ok
    assert beside(one) == set()


@pytest.mark.parametrize("first", [0, 1])
async def test_the_last_unlock_takes_the_time_away(repository: Path, first: int) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        locks = [await locked(one)]
        clock.advance(100)
        locks.append(await locked(other))
        async with locks[1 - first]:
            async with locks[first]:
                pass
            assert ".rtm" in beside(one)
            assert not (await one.remove(KEY)).ok
        assert beside(one) == {""}
        assert (await other.remove(KEY)).ok


async def test_what_others_keep_is_kept_and_what_they_remove_is_not_locked(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = one.layout.find(KEY)
        os.chmod(os.path.dirname(path), 0o755)
        with open(path + b".lck", "wb+") as file:
            assert try_range(file.fileno(), fcntl.F_RDLCK)
            assert not (await one.remove(KEY)).ok
            async with await locked(one):
                pass
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}, "whoever still keeps it may have relied on it"
            assert try_range(file.fileno(), fcntl.F_WRLCK)
            with pytest.raises(NotLocked):
                await one.lock(KEY)
