"""Locks whose clients were lost."""

from __future__ import annotations

import fcntl
import math
import resource
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.keys.key import Key
from p2pannex.service import NotLocked, TooManyLocks
from p2pannex.stores.annex.abandoned_locks import AbandonedLocks, places
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, locked
from tests.support.clocks import ManualClock


async def lost(store: AnnexStore, key: Key, times: int = 1) -> None:
    for _ in range(times):
        await (await locked(store, key)).aclose()


async def test_no_lock_is_forgotten_for_another(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.stores.annex.abandoned_locks.places", lambda: 3)
    contents = [b"%d" % number for number in range(5)]
    keys = [key_of(content) for content in contents]
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        for content in contents:
            await store(one, content)
        await lost(one, keys[0])
        await lost(one, keys[1], times=20)
        held = await locked(one, keys[2])
        for _ in range(2):
            with pytest.raises(NotLocked, match=r"3 contents are locked already.*try again in 600 seconds"):
                await locked(one, keys[3])
        await lost(one, keys[0], times=5)
        for key in keys[:3]:
            with open(one.layout.find(key) + b".lck", "rb+") as file:
                assert not try_range(file.fileno(), fcntl.F_WRLCK), "git-annex cannot remove it"
            assert not (await one.remove(key)).ok
        await held.release()
        held = await locked(one, keys[3])
        with pytest.raises(NotLocked):
            await locked(one, keys[2])
        await held.aclose()
        clock.advance(601)
        await (await locked(one, keys[4])).release()
        for key in keys:
            assert (await one.remove(key)).ok


async def test_the_lock_of_a_lost_client_is_held_as_long_as_its_record(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await lost(one, KEY)
        for seconds, free in ((599.5, False), (0.5, True)):
            clock.advance(seconds)
            one._annex_retention.abandoned.release_expired()
            with open(one.layout.find(KEY) + b".lck", "rb+") as file:
                assert try_range(file.fileno(), fcntl.F_WRLCK) == free


async def test_content_that_is_not_there_takes_no_place(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.stores.annex.abandoned_locks.places", lambda: 3)
    async with AnnexStore(repository) as one:
        for _ in range(20):
            with pytest.raises(NotLocked, match="not present"):
                await locked(one, key_of(b"absent"))
        await store(one, CONTENT, KEY)
        for _ in range(20):
            await (await locked(one)).release()
        assert not one._annex_retention.abandoned._places


def test_a_quarter_of_the_files_that_may_be_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        locks = AbandonedLocks(ManualClock())
        assert places() == 100
        for number in range(100):
            locks.enter(b"%d" % number)
        with pytest.raises(TooManyLocks, match=r"100 contents are locked.*ulimit -n"):
            locks.enter(b"another")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4000, hard))  # as a server does after it has opened the store
        for number in range(100, 1000):
            locks.enter(b"%d" % number)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_lock_of_a_lost_client_is_let_go_in_time(
    repository: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While we hold it, git-annex's own unlock does not end the promise; and then it must be able to remove it."""
    monkeypatch.setattr("p2pannex.stores.annex.retention.SWEEP_INTERVAL", math.inf)  # a sweep locks it for a moment
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        with open(one.layout.find(KEY) + b".lck", "rb+") as file:
            assert not try_range(file.fileno(), fcntl.F_WRLCK)
            await trio.testing.wait_all_tasks_blocked()
            clock.advance(601)
            mock_clock.jump(601)
            await trio.testing.wait_all_tasks_blocked()
            assert try_range(file.fileno(), fcntl.F_WRLCK)
