"""The git repository behind an annex store: its refs as they change, and git's programs over CONNECT."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.git_annex import refs
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.serving import served


def git(*words: str | Path) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True, input="").stdout.strip()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "me")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "me@localhost")
    path = tmp_path / "repository"
    git("init", "-q", "--bare", path)
    git("-C", path, "config", "annex.uuid", "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb")
    git("-C", path, "config", "annex.version", "10")
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AnnexStore]:
    async with AnnexStore(path) as store:
        yield store


def commit(path: Path, message: str, *refs: str) -> str:
    """A new commit, at these refs; its name."""
    made = git("-C", path, "commit-tree", "-m", message, git("-C", path, "hash-object", "-t", "tree", "-w", "--stdin"))
    for ref in refs:
        git("-C", path, "update-ref", ref, made)
    return made


# Changes of refs -------------------------------------------------------------------------------------------------


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


async def test_what_changes_while_nobody_waits(path: Path, changes: Changes) -> None:
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
    git("-C", path, "pack-refs", "--all", "--prune")
    git("-C", path, "update-ref", "-d", "refs/heads/other/one")
    second = commit(path, "second", "refs/heads/other/one")
    assert await anext(changes) == (second,)
    git("-C", path, "pack-refs", "--all", "--prune")
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


# git's programs --------------------------------------------------------------------------------------------------


class Line:
    """A stream whose other end the test holds."""

    def __init__(self) -> None:
        self.far, self.near = trio.testing.memory_stream_pair()


async def test_only_these_two_programs(store: AnnexStore) -> None:
    for program in ("git-upload-archive", "upload-pack", "sh", "/bin/sh", "git-upload-pack x", ""):
        with pytest.raises(Unsupported):
            await store.connect(program, Line().near)


@pytest.mark.parametrize("over", ["", "memory", "pipe"])
async def test_a_program_and_its_exit_code(path: Path, store: AnnexStore, over: str) -> None:
    made = commit(path, "first", "refs/heads/main")
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(served(store, transport=over)) if over else store
        line = Line()
        codes: list[int] = []

        async def run() -> None:
            codes.append(await service.connect("git-upload-pack", line.near))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            said = await line.far.receive_some()
            assert f"{made} refs/heads/main" in said.decode()
            await line.far.send_all(b"0000")
        line = Line()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await line.far.receive_some()
            await line.far.send_all(b"nonsense")
        assert codes == [0, 128]


async def test_a_client_that_leaves_ends_the_program(path: Path, store: AnnexStore) -> None:
    commit(path, "first", "refs/heads/main")
    line = Line()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            assert await store.connect("git-receive-pack", line.near) in (0, 128)

        nursery.start_soon(run)
        await line.far.receive_some()
        await line.far.send_eof()


async def test_a_connection_that_breaks_ends_the_program(path: Path, store: AnnexStore) -> None:
    commit(path, "first", "refs/heads/main")

    class Breaks(trio.abc.HalfCloseableStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise ConnectionLost("it broke")

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None: ...
        async def send_eof(self) -> None: ...
        async def aclose(self) -> None: ...

    with pytest.raises(ConnectionLost, match="it broke"):
        await store.connect("git-upload-pack", Breaks())
    with trio.move_on_after(0.1) as scope:
        await store.connect("git-upload-pack", Line().near)
    assert scope.cancelled_caught


async def test_without_git(store: AnnexStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="cannot run git"):
        await store.connect("git-upload-pack", Line().near)


@pytest.mark.parametrize("mode", [Mode.READ_ONLY, Mode.APPEND_ONLY])
async def test_a_push_needs_all_rights(path: Path, store: AnnexStore, mode: Mode) -> None:
    async with served(store, mode=mode) as remote:
        with pytest.raises(RemoteError, match="write access denied"):
            await remote.connect("git-receive-pack", Line().near)
        line = Line()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(remote.connect, "git-upload-pack", line.near)
            await line.far.send_all(b"0000")
            assert await line.far.receive_some()


async def test_hooks_are_not_told_of_our_own_repository(
    path: Path, store: AnnexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs in a git hook has variables that would make git work on the caller's repository."""
    made = commit(path, "first", "refs/heads/main")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    line = Line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.connect, "git-upload-pack", line.near)
        assert made in (await line.far.receive_some()).decode()
        await line.far.send_all(b"0000")
