"""Git's programs on the repository behind an annex store, over CONNECT."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.serving import served
from tests.git_annex.served_repository import commit


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
