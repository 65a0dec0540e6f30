"""Transfers between services and files: they resume, they verify, and they tell how far they are.

Connections here are real socket pairs, spoken over by `serve` and `Remote`, on which a stream in between breaks after
any number of bytes.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p.peer import StreamPeer
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.server import serve
from p2pannex.protocol.conversation import Side
from p2pannex.service import AlreadyHave, Download, NotStored, Stored
from p2pannex.stores.memory import MemoryStore
from p2pannex.transfer.files import partial_path
from p2pannex.transfer.transfer import NotPresent, Transferred, WrongContent, copy, retrieve, send
from p2pannex.transports.descriptor import DescriptorStream

SMALL_CONTENT = random.Random(1).randbytes(300)
LARGE_CONTENT = random.Random(2).randbytes(5_000_011)


def key_of(content: bytes) -> Key:
    return Key.make("SHA256", hashlib.sha256(content).hexdigest(), size=len(content))


class BreakingStream(trio.abc.Stream):
    """Passes on `receive` bytes one way and `send` bytes the other, then breaks, as a lost connection does."""

    def __init__(self, inner: trio.abc.Stream, receive: int | None, send: int | None) -> None:
        self.inner = inner
        self.receive = receive
        self.send = send

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.receive is None:
            return bytes(await self.inner.receive_some(max_bytes))
        if not self.receive:
            await self.inner.aclose()
            raise trio.BrokenResourceError("cut")
        data = bytes(await self.inner.receive_some(min(max_bytes or 65536, self.receive)))
        self.receive -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.send is not None:
            if len(data) > self.send:
                await self.inner.send_all(memoryview(data)[: self.send])
                await self.inner.aclose()
                raise trio.BrokenResourceError("cut")
            self.send -= len(data)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.inner.aclose()


Cut = tuple[int | None, int | None]
"""Bytes after which a connection breaks: received, sent."""

WHOLE: Cut = (None, None)


@asynccontextmanager
async def remote_to(store: MemoryStore, cuts: Sequence[Cut] = (), version: int = 4) -> AsyncIterator[Remote]:
    """A Remote whose connections break as `cuts` says, one after another; those that follow do not."""
    left = list(cuts)

    async def answer(peer: StreamPeer) -> None:
        try:
            await serve(peer, store)
        except ConnectionLost:
            pass

    async with trio.open_nursery() as nursery:

        async def dial() -> StreamPeer:
            ours, theirs = socket.socketpair()
            nursery.start_soon(answer, StreamPeer(DescriptorStream.over_socket(theirs), Side.SERVER))
            cut = left.pop(0) if left else WHOLE
            return StreamPeer(BreakingStream(DescriptorStream.over_socket(ours), *cut), Side.CLIENT)

        async with Remote(dial, store.uuid, version=version) as remote:
            yield remote
        nursery.cancel_scope.cancel()


class Watched:
    """A progress callback that holds every report to what `Transferred` promises."""

    def __init__(self) -> None:
        self.reports: list[Transferred] = []

    def __call__(self, now: Transferred) -> None:
        if self.reports:
            assert now.offset == self.reports[0].offset
        else:
            assert now.count == now.offset
        if now.total is not None:
            assert now.count <= now.total
        self.reports.append(now)


def partials(directory: Path) -> list[Path]:
    return list(directory.glob("*.p2pannex-partial"))


# retrieve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_retrieve(tmp_path: Path, content: bytes, version: int) -> None:
    store = MemoryStore()
    key = key_of(content)
    store.contents[key] = content
    progress = Watched()
    async with remote_to(store, version=version) as remote:
        await retrieve(remote, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == content
    assert os.listdir(tmp_path) == ["f"]
    if content:
        assert progress.reports[0] == Transferred(0, len(content), 0)
        assert progress.reports[-1] == Transferred(0, len(content), len(content))


async def test_retrieve_through_a_connection_cut_at_every_byte(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    cut, went_on = 0, 0
    while True:
        target = tmp_path / f"{cut}"
        async with remote_to(store, [(cut, None)]) as remote:
            try:
                await retrieve(remote, key, target)
            except ConnectionLost:
                assert not target.exists()  # lost before the content began: nothing to go on with
                await retrieve(remote, key, target)
            else:
                went_on += 1
        assert target.read_bytes() == SMALL_CONTENT
        assert not partials(tmp_path)
        if cut > 600:
            break
        cut += 7
    assert went_on > len(SMALL_CONTENT) // 7


@pytest.mark.parametrize("cut", [100, 65_000, 1_000_000, 3_333_333, 5_000_000])
async def test_retrieve_goes_on_where_an_earlier_call_ended(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    async with remote_to(store, [(cut, None)]) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, key, tmp_path / "f", attempts=1)
    left = sum(partial.stat().st_size for partial in partials(tmp_path))
    progress = Watched()
    async with remote_to(store) as remote:
        await retrieve(remote, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT
    assert progress.reports[0] == Transferred(left, len(LARGE_CONTENT), left)
    assert cut - 200 <= left <= cut  # all that arrived, but for the lines before it
    assert os.listdir(tmp_path) == ["f"]


async def test_retrieve_gives_up_after_its_attempts(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    async with remote_to(store, [(1_500_000, None)] * 9) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, key, tmp_path / "f", attempts=2)
        assert 2_900_000 < partials(tmp_path)[0].stat().st_size < 3_000_000
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("version", range(5))
async def test_missing_content(tmp_path: Path, version: int) -> None:
    async with remote_to(MemoryStore(), version=version) as remote:
        with pytest.raises(NotPresent, match=remote.uuid):
            await retrieve(remote, key_of(SMALL_CONTENT), tmp_path / "f")
        assert not await remote.check_present(key_of(SMALL_CONTENT))  # the connection is still good
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1] + b"?", SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_wrong_content_is_not_kept(tmp_path: Path, wrong: bytes) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = wrong
    async with remote_to(store) as remote:
        with pytest.raises(WrongContent):
            await retrieve(remote, key, tmp_path / "f")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("left", [b"z" * 100, b"z" * len(SMALL_CONTENT), b"z" * 999], ids=len)
async def test_a_spoiled_partial_is_received_anew(tmp_path: Path, left: bytes) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(left)
    async with remote_to(store) as remote:
        await retrieve(remote, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT
    assert os.listdir(tmp_path) == ["f"]


async def test_a_whole_partial_needs_no_repository(tmp_path: Path) -> None:
    key = key_of(SMALL_CONTENT)
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(SMALL_CONTENT)
    await retrieve(MemoryStore(), key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_a_partial_of_another_key_is_not_gone_on_with(tmp_path: Path) -> None:
    """Nothing could find it out later: WORM keys have no digest."""
    one, other = (Key.make("WORM", name, size=3_000_000, mtime=1) for name in ("one", "other"))
    store = MemoryStore()
    store.contents = {one: b"1" * 3_000_000, other: b"2" * 3_000_000}
    async with remote_to(store, [(2_000_000, None)]) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, one, tmp_path / "f", attempts=1)
    assert len(partials(tmp_path)) == 1
    await retrieve(store, other, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"2" * 3_000_000


class Doubting(MemoryStore):
    """Says INVALID of everything it gives."""

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        download = await super().get(key, offset=offset, file=file)

        async def valid() -> bool:
            return False

        download.valid = valid  # type: ignore[method-assign]
        return download


async def test_the_sender_s_doubt_counts_where_there_is_no_digest(tmp_path: Path) -> None:
    store = Doubting()
    worm, sha = Key.make("WORM", "name", size=300, mtime=1), key_of(SMALL_CONTENT)
    store.contents = {worm: SMALL_CONTENT, sha: SMALL_CONTENT}
    with pytest.raises(WrongContent):
        await retrieve(store, worm, tmp_path / "worm")
    await retrieve(store, sha, tmp_path / "sha")
    assert os.listdir(tmp_path) == ["sha"]


async def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    (tmp_path / "f").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"precious"
    await retrieve(store, key, tmp_path / "f", overwrite=True)
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT

    def appear(now: Transferred) -> None:
        (tmp_path / "f").write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        await retrieve(store, key, tmp_path / "f", progress=appear)
    assert (tmp_path / "f").read_bytes() == b"precious"
    assert partials(tmp_path)[0].read_bytes() == SMALL_CONTENT


async def test_two_at_once_do_not_write_into_each_other_s_partial(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    outcomes: list[object] = []

    async def run() -> None:
        try:
            await retrieve(store, key, tmp_path / "f")
            outcomes.append("done")
        except (RemoteError, FileExistsError) as error:
            outcomes.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", RemoteError, FileExistsError}
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT
    assert os.listdir(tmp_path) == ["f"]


async def test_a_partial_with_a_second_name_is_left_to_its_owner(tmp_path: Path) -> None:
    """A crash between the link and the unlink of a commit leaves the user's file under the partial's name too."""
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    (tmp_path / "mine").write_bytes(b"edited since")
    os.link(tmp_path / "mine", partial_path(os.fsencode(tmp_path / "f"), key))
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "mine").read_bytes() == b"edited since"
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_long_names_and_names_that_are_not_utf_8(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    for name in (b"n" * 255, b"\xff\xfe"):
        path = os.path.join(os.fsencode(tmp_path), name)
        await retrieve(store, key, path)
        with open(path, "rb") as file:
            assert file.read() == SMALL_CONTENT


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writing past `limit` fails, much as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_full_disk_names_the_file_and_keeps_what_arrived(tmp_path: Path, content: bytes) -> None:
    store = MemoryStore()
    key = key_of(content)
    store.contents[key] = content
    with pytest.raises(OSError, match=r"f'$") as caught, file_size_limit(len(content) - 20):
        await retrieve(store, key, tmp_path / "f")
    assert caught.value.filename == str(tmp_path / "f")
    assert partials(tmp_path)[0].stat().st_size == len(content) - 20
    progress = Watched()
    await retrieve(store, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == content
    assert progress.reports[0].offset == len(content) - 20


async def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await retrieve(MemoryStore(), key_of(b""), tmp_path / "no" / "f")
    assert caught.value.filename == str(tmp_path / "no" / "f")
    with pytest.raises(IsADirectoryError):
        await retrieve(MemoryStore(), key_of(b""), tmp_path, overwrite=True)


async def test_a_cancelled_retrieve_keeps_what_arrived(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    with trio.CancelScope() as scope:

        def cancel(now: Transferred) -> None:
            if now.count:
                scope.cancel()

        await retrieve(store, key, tmp_path / "f", progress=cancel)
    assert scope.cancelled_caught
    assert partials(tmp_path)[0].stat().st_size >= 1 << 20
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT


# send ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_send(tmp_path: Path, content: bytes, version: int) -> None:
    store = MemoryStore()
    key = key_of(content)
    (tmp_path / "f").write_bytes(content)
    progress = Watched()
    async with remote_to(store, version=version) as remote:
        assert await send(remote, key, tmp_path / "f", progress=progress) == Stored()
        assert await send(remote, key, tmp_path / "f") == AlreadyHave()
    assert store.contents[key] == content
    assert progress.reports[-1] == Transferred(0, len(content), len(content))


@pytest.mark.parametrize("cut", [*range(0, 600, 11)])
async def test_send_through_a_connection_cut_at_every_byte(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    async with remote_to(store, [(None, cut)]) as remote:
        try:
            outcome = await send(remote, key, tmp_path / "f")
        except ConnectionLost:
            assert key not in store.contents
            outcome = await send(remote, key, tmp_path / "f")
    assert outcome == Stored()
    assert store.contents[key] == SMALL_CONTENT


@pytest.mark.parametrize("cut", [70_000, 1_000_000, 4_999_999])
async def test_send_goes_on_where_the_connection_was_lost(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    (tmp_path / "f").write_bytes(LARGE_CONTENT)
    async with remote_to(store, [(None, cut)]) as remote:
        with pytest.raises(ConnectionLost):
            await send(remote, key, tmp_path / "f", attempts=1)
        with trio.fail_after(10):
            while key in store._uploading:  # noqa: ASYNC110 - the server is still reading what was under way
                await trio.sleep(0.01)
        left = len(store.partials[key])
        progress = Watched()
        assert await send(remote, key, tmp_path / "f", progress=progress) == Stored()
    assert cut - 200 <= left <= cut
    assert progress.reports[0] == Transferred(left, len(LARGE_CONTENT), left)
    assert store.contents[key] == LARGE_CONTENT


async def test_the_answer_lost_after_the_last_byte_is_asked_for_again(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    greeting = len(f"AUTH-SUCCESS {store.uuid}\nVERSION 4\nPUT-FROM 0\n")
    async with remote_to(store, [(greeting, None)]) as remote:
        assert await send(remote, key, tmp_path / "f") in (Stored(), AlreadyHave())
    assert store.contents[key] == SMALL_CONTENT


async def test_a_file_of_another_size_is_not_sent(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "f").write_bytes(SMALL_CONTENT[1:])
    with pytest.raises(WrongContent, match="299 bytes"):
        await send(store, key_of(SMALL_CONTENT), tmp_path / "f")
    assert not store.partials


async def test_a_file_of_wrong_content_is_not_stored(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "f").write_bytes(SMALL_CONTENT[::-1])
    assert await send(store, key_of(SMALL_CONTENT), tmp_path / "f") == NotStored()


@pytest.mark.parametrize("change", ["touch", "replace", "delete"])
async def test_a_file_that_changes_is_called_invalid(tmp_path: Path, change: str) -> None:
    store = MemoryStore()
    worm = Key.make("WORM", "f", size=300, mtime=1)
    path = tmp_path / "f"
    path.write_bytes(SMALL_CONTENT)
    os.utime(path, (1, 1))

    def meddle(now: Transferred) -> None:
        if change == "touch":
            os.utime(path, (2, 2))
        elif change == "replace":
            (tmp_path / "g").write_bytes(SMALL_CONTENT)
            os.utime(tmp_path / "g", (1, 1))
            os.replace(tmp_path / "g", path)
        else:
            path.unlink(missing_ok=True)

    assert await send(store, worm, path, progress=meddle) == NotStored()
    assert worm not in store.contents


async def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "f"
    path.write_bytes(LARGE_CONTENT)
    async with remote_to(store) as remote:
        with pytest.raises(RemoteError, match="became shorter"):
            await send(remote, key_of(LARGE_CONTENT), path, progress=lambda now: os.truncate(path, 10))
    assert not store.contents


async def test_a_service_that_kept_more_than_the_file_has(tmp_path: Path) -> None:
    """The connection is still good after it: nothing was left in the middle."""
    store = MemoryStore()
    key = Key.make("SHA256", hashlib.sha256(SMALL_CONTENT).hexdigest())
    store.partials[key] = bytearray(301)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    async with remote_to(store, [WHOLE, (0, 0)]) as remote:
        with pytest.raises(WrongContent, match="kept 301 bytes"):
            await send(remote, key, tmp_path / "f")
        assert not await remote.check_present(key)


async def test_what_is_not_a_regular_file_is_not_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match="not a regular file"):
            await send(MemoryStore(), key_of(b""), path)


# copy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_copy(content: bytes, version: int) -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    progress = Watched()
    async with remote_to(source, version=version) as one, remote_to(target, version=version) as other:
        assert await copy(one, other, key, progress=progress) == Stored()
        assert await copy(one, other, key) == AlreadyHave()
    assert target.contents[key] == content
    assert progress.reports[-1] == Transferred(0, len(content), len(content))


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
async def test_copy_when_the_source_is_lost(content: bytes, fraction: float) -> None:
    """The same upload goes on: the target sees one connection."""
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    greeting = len(f"AUTH-SUCCESS {source.uuid}\nVERSION 4\nDATA {len(content)}\n")
    cut = greeting + int(len(content) * fraction)
    progress = Watched()
    async with remote_to(source, [(cut, None)]) as one, remote_to(target, [WHOLE, (0, 0)]) as other:
        assert await copy(one, other, key, progress=progress) == Stored()
    assert target.contents[key] == content
    assert progress.reports[-1].count == len(content)


async def test_copy_when_the_source_is_lost_for_good() -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(LARGE_CONTENT)
    source.contents[key] = LARGE_CONTENT
    async with remote_to(source, [(1_500_000, None)] * 9) as one:
        with pytest.raises(ConnectionLost):
            await copy(one, target, key, attempts=2)
        assert 2_900_000 < len(target.partials[key]) < 3_000_000  # kept, to go on from
    progress = Watched()
    assert await copy(source, target, key, progress=progress) == Stored()
    assert progress.reports[0].offset > 2_900_000


@pytest.mark.parametrize("cut", [*range(0, 600, 23), 100_000, 4_000_000])
async def test_copy_when_the_target_is_lost(cut: int) -> None:
    content = LARGE_CONTENT if cut > 1000 else SMALL_CONTENT
    source, target = MemoryStore(), MemoryStore()
    key = key_of(content)
    source.contents[key] = content
    async with remote_to(source) as one, remote_to(target, [(None, cut)]) as other:
        for _ in range(2):
            try:
                outcome = await copy(one, other, key)
                break
            except ConnectionLost:
                assert cut < 1000  # lost before the upload began
    assert outcome == Stored()
    assert target.contents[key] == content


async def test_copy_of_what_the_source_does_not_have() -> None:
    """The target's connection is used again afterwards."""
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    target.partials[key] = bytearray(SMALL_CONTENT[:100])
    async with remote_to(source) as one, remote_to(target, [WHOLE, (0, 0)]) as other:
        with pytest.raises(NotPresent, match=source.uuid):
            await copy(one, other, key)
        assert not await other.check_present(key)
    assert target.partials[key] == SMALL_CONTENT[:100]


async def test_copy_stores_what_the_target_had_received_whole() -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    target.partials[key] = bytearray(SMALL_CONTENT)
    assert await copy(source, target, key) == Stored()


@pytest.mark.parametrize("wrong", [SMALL_CONTENT[:-1] + b"?", SMALL_CONTENT[:-1], SMALL_CONTENT + b"?"], ids=len)
async def test_copy_of_wrong_content(wrong: bytes) -> None:
    source, target = MemoryStore(), MemoryStore()
    key = key_of(SMALL_CONTENT)
    source.contents[key] = wrong
    async with remote_to(source) as one, remote_to(target) as other:
        if len(wrong) == len(SMALL_CONTENT):
            assert await copy(one, other, key) == NotStored()
        else:
            with pytest.raises(WrongContent):
                await copy(one, other, key)
    assert not target.contents


async def test_copy_passes_the_source_s_doubt_on() -> None:
    source, target = Doubting(), MemoryStore()
    worm = Key.make("WORM", "name", size=300, mtime=1)
    source.contents[worm] = SMALL_CONTENT
    assert await copy(source, target, worm) == NotStored()
    assert not target.contents
