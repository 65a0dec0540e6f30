"""The refs of a repository behind an annex store, as they change."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.git_annex import refs
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.serving import served
from tests.git_annex.served_repository import commit
from tests.support.git import git


@pytest.fixture(params=["told by the kernel", "looking"])
async def changes(
    store: AnnexStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncGenerator[tuple[str, ...], None]]:
    if request.param == "looking":
        monkeypatch.setattr(refs, "_InotifyWatch", refs._PollingWatch)
        monkeypatch.setattr(refs, "INTERVAL", 0.02)
    async with contextlib.aclosing(store.changes()) as changes:
        yield changes


Changes = AsyncGenerator[tuple[str, ...], None]


async def test_first_where_refs_stand_and_then_what_they_change_to(path: Path, changes: Changes) -> None:
    first = commit(path, "first", "refs/heads/main", "refs/heads/also", "refs/tags/one")
    assert await anext(changes) == (first,)
    for ref in ("refs/heads/main", "refs/heads/synced/main", "refs/heads/a/deep/one", "refs/tags/two", "refs/odd/one"):
        made = commit(path, ref, ref)
        assert await anext(changes) == (made,)


async def test_changes_between_two_waits(path: Path, changes: Changes) -> None:
    first = commit(path, "first", "refs/heads/main")
    assert await anext(changes) == (first,)
    passing = commit(path, "passing", "refs/heads/main")
    made = {commit(path, name, f"refs/heads/{name}") for name in ("main", "new", "new.directory/new")}
    told: set[str] = set()
    while not made <= told:
        told |= set(await anext(changes))
    assert told <= made | {passing}


async def test_refs_that_are_packed_or_deleted_have_not_changed(path: Path, changes: Changes) -> None:
    first = commit(path, "first", "refs/heads/main", "refs/heads/other/one")
    assert await anext(changes) == (first,)
    git(path, "pack-refs", "--all", "--prune")
    git(path, "update-ref", "-d", "refs/heads/other/one")
    second = commit(path, "second", "refs/heads/other/one")
    assert await anext(changes) == (second,)
    git(path, "pack-refs", "--all", "--prune")
    third = commit(path, "third", "refs/heads/main")
    assert await anext(changes) == (third,)


async def test_a_repository_without_refs(path: Path, changes: Changes) -> None:
    told: list[tuple[str, ...]] = []

    async def wait() -> None:
        told.append(await anext(changes))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.1)
        assert told == []
        made = commit(path, "first", "refs/heads/main")
    assert told == [(made,)]


async def test_one_at_a_time(path: Path, changes: Changes) -> None:
    """git-annex's client fetches only if it has none of the objects that it is told of together."""
    made = [commit(path, name, f"refs/heads/{name}") for name in "abc"]
    assert [await anext(changes) for _ in made] == [(name,) for name in made]


async def test_a_repository_that_goes_away(path: Path, changes: Changes) -> None:
    commit(path, "first", "refs/heads/main")
    await anext(changes)
    path.rename(path.with_name("elsewhere"))
    commit(path.with_name("elsewhere"), "second", "refs/heads/main")
    with pytest.raises(RemoteError):
        await anext(changes)


async def test_no_more_of_inotify(path: Path, store: AnnexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's limit is reached, or the C library has none: it looks."""
    monkeypatch.setattr(refs, "INTERVAL", 0.02)
    for problem in (OSError(24, "no more"), AttributeError("inotify_init1")):

        def fails(*_: object, problem: Exception = problem, **__: object) -> None:
            raise problem

        monkeypatch.setattr(ctypes, "CDLL", fails)
        async with contextlib.aclosing(store.changes()) as changes:
            made = commit(path, str(problem), "refs/heads/main")
            assert await anext(changes) == (made,)
            made = commit(path, f"after {problem}", "refs/heads/main")
            assert await anext(changes) == (made,)


async def test_no_more_watches(path: Path, store: AnnexStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's limit of watches is reached when a directory is new: from then on it looks."""
    monkeypatch.setattr(refs, "INTERVAL", 0.02)
    add = refs._InotifyWatch._add
    limited = False

    def limit(told: refs._InotifyWatch, directory: bytes) -> int:
        if limited:
            raise OSError(28, "no more watches")
        return add(told, directory)

    monkeypatch.setattr(refs._InotifyWatch, "_add", limit)
    async with contextlib.aclosing(store.changes()) as changes:
        first = commit(path, "first", "refs/heads/main")
        assert await anext(changes) == (first,)
        limited = True
        for name in ("new/one", "new/two", "newer/one"):
            made = commit(path, name, f"refs/heads/{name}")
            assert await anext(changes) == (made,)


async def test_over_a_connection(path: Path, store: AnnexStore) -> None:
    first = commit(path, "first", "refs/heads/main")
    async with served(store) as remote, contextlib.aclosing(remote.changes()) as changes:
        assert await anext(changes) == (first,)
        second = commit(path, "second", "refs/heads/main")
        assert await anext(changes) == (second,)


async def test_nothing_stays_open(path: Path, store: AnnexStore) -> None:
    commit(path, "first", "refs/heads/main")
    before = os.listdir("/proc/self/fd")
    async with contextlib.aclosing(store.changes()) as changes:
        await anext(changes)
        with trio.move_on_after(0.05):
            await anext(changes)
    assert os.listdir("/proc/self/fd") == before
