"""A server, spoken to in bytes: every request at every version, every mode, and every way to fail or to leave."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.access import Mode
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p.peer import StreamPeer
from p2pannex.p2p.server import HANDLERS, serve
from p2pannex.protocol.conversation import TABLE, Side, State
from p2pannex.protocol.messages import LATEST_VERSION
from p2pannex.service import RETENTION, AlreadyHave, Download, Lock, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.faults import Fault, FaultyStream, Operation, cancel_everywhere
from p2pannex.testing.samples import key_of, sample

U = "00000000-0000-4000-8000-000000000001"
HELLO = b"hello"
K = key_of(HELLO)
A = key_of(b"absent")
RAW, ABSENT = K.raw, A.raw
VERSIONS = range(LATEST_VERSION + 1)


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Talk:
    """A client that speaks in bytes."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.problem: BaseException | None = None
        self.heard = bytearray()
        self.done = trio.Event()

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self, expected: bytes) -> None:
        """The next bytes that the server says are these."""
        got = self.heard
        with trio.fail_after(10):
            while len(got) < len(expected) and expected.startswith(got):
                data = await self.stream.receive_some(65536)
                if not data:
                    break
                got += data
        assert bytes(got[: len(expected)]) == expected
        del got[: len(expected)]

    async def ask(self, said: bytes, answer: bytes) -> None:
        await self.say(said)
        await self.hear(answer)

    async def idle(self) -> None:
        """The server is between requests: the next one is answered."""
        await self.ask(b"CHECKPRESENT " + ABSENT + b"\n", b"FAILURE\n")

    async def closed(self, within: float = 10) -> None:
        """The server says no more, and closes."""
        with trio.fail_after(within), contextlib.suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some(65536):
                self.heard += data
        assert not self.heard

    async def end(self) -> None:
        """The client leaves, and the server has ended."""
        await self.stream.aclose()
        with trio.fail_after(10):
            await self.done.wait()


@asynccontextmanager
async def talking(
    service: Service,
    *,
    version: int | None = LATEST_VERSION,
    mode: Mode = Mode.READ_WRITE,
    timeout: float = 5,
    **settings: float,
) -> AsyncIterator[Talk]:
    one, other = trio.testing.memory_stream_pair()
    talk = Talk(one)

    async def run() -> None:
        peer = StreamPeer(other, Side.SERVER, timeout=timeout)
        try:
            await serve(peer, service, mode=mode, **settings)  # type: ignore[arg-type]
        except Exception as error:
            talk.problem = error
        finally:
            talk.done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await talk.hear(b"AUTH-SUCCESS %s\n" % service.uuid.encode())
        if version is not None:
            await talk.ask(b"VERSION %d\n" % version, b"VERSION %d\n" % version)
        yield talk
        await talk.stream.aclose()
        with trio.move_on_after(10) as scope:
            await talk.done.wait()
        assert not scope.cancelled_caught, "the server does not end when its client leaves"


def store(*contents: bytes, clock: Hands | None = None) -> MemoryStore:
    made = MemoryStore(U, clock=clock)
    for content in contents or (HELLO,):
        made.contents[key_of(content)] = content
    return made


# Every request at every version ------------------------------------------------------------------------------------


def line(*words: bytes) -> bytes:
    return b" ".join(words) + b"\n"


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_request_at_every_version(version: int) -> None:
    here = store()
    valid, invalid = (b"VALID\n", b"INVALID\n") if version else (b"", b"")
    new = b"new content"
    n = key_of(new)
    async with talking(here, version=version) as talk:
        await talk.ask(line(b"CHECKPRESENT", RAW), b"SUCCESS\n")
        await talk.ask(line(b"CHECKPRESENT", ABSENT), b"FAILURE\n")
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhello" + valid)
        await talk.say(b"SUCCESS\n")
        await talk.ask(line(b"GET 2 a%b", RAW), b"DATA 3\nllo" + valid)
        await talk.say(b"FAILURE\n")
        await talk.ask(line(b"GET 5 ", RAW), b"DATA 0\n" + valid)
        await talk.say(b"SUCCESS\n")
        await talk.ask(line(b"GET 99 ", RAW), b"DATA 0\n" + valid)
        await talk.say(b"SUCCESS\n")
        await talk.ask(line(b"GET 0 ", ABSENT), b"DATA 0\n" + invalid)
        await talk.say(b"FAILURE\n")
        await talk.ask(line(b"PUT ", RAW), b"ALREADY-HAVE\n")
        await talk.ask(line(b"PUT ", n.raw), b"PUT-FROM 0\n")
        await talk.ask(b"DATA %d\n" % len(new) + new + valid, b"SUCCESS\n")
        assert here.contents[n] == new
        await talk.ask(line(b"LOCKCONTENT", ABSENT), b"FAILURE\n")
        await talk.ask(line(b"LOCKCONTENT", n.raw), b"SUCCESS\n")
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.ask(line(b"LOCKCONTENT", n.raw), b"SUCCESS\n")
        await talk.say(line(b"UNLOCKCONTENT", n.raw))
        await talk.ask(line(b"REMOVE", n.raw), b"SUCCESS\n")
        await talk.ask(line(b"REMOVE", n.raw), b"SUCCESS\n")
        assert n not in here.contents
        await talk.ask(line(b"BYPASS", b"u v"), b"")
        await talk.ask(b"NOTIFYCHANGE\n", b"ERROR there is no git repository here\n")
        await talk.idle()


@pytest.mark.parametrize("version", VERSIONS)
async def test_timestamps_at_every_version(version: int) -> None:
    """git-annex answers them whatever was agreed on: a request explains itself."""
    clock = Hands()
    here = store(clock=clock)
    async with talking(here, version=version) as talk:
        await talk.ask(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        clock.now = 1000.9
        await talk.ask(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        await talk.ask(line(b"REMOVE-BEFORE 1000", RAW), b"FAILURE\n")
        await talk.ask(line(b"REMOVE-BEFORE 999", RAW), b"FAILURE\n")
        assert K in here.contents
        await talk.ask(line(b"REMOVE-BEFORE 1001", RAW), b"SUCCESS\n")
        assert K not in here.contents


async def test_a_client_that_says_no_version_speaks_version_0() -> None:
    async with talking(store(), version=None) as talk:
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhello")
        await talk.say(b"SUCCESS\n")
        await talk.idle()


@pytest.mark.parametrize(("offered", "ours", "agreed"), [(99, 4, 4), (4, 2, 2), (1, 4, 1), (0, 4, 0), (4, 0, 0)])
async def test_versions(offered: int, ours: int, agreed: int) -> None:
    async with talking(store(), version=None, max_version=ours) as talk:
        await talk.ask(b"VERSION %d\n" % offered, b"VERSION %d\n" % agreed)
        await talk.ask(line(b"GET 0 ", ABSENT), b"DATA 0\n" + (b"INVALID\n" if agreed else b""))
        await talk.say(b"SUCCESS\n")
        await talk.idle()


async def test_the_version_may_be_changed() -> None:
    async with talking(store(), version=4) as talk:
        await talk.ask(b"VERSION 0\n", b"VERSION 0\n")
        await talk.ask(line(b"GET 0 ", ABSENT), b"DATA 0\n")
        await talk.say(b"SUCCESS\n")
        await talk.idle()


async def test_requests_in_one_write_are_answered_in_order() -> None:
    async with talking(store()) as talk:
        await talk.ask(
            line(b"CHECKPRESENT", RAW) + b"FOO\n" + line(b"GET 1 ", RAW) + b"SUCCESS\n" + line(b"PUT ", RAW),
            b"SUCCESS\nERROR unknown command\nDATA 4\nelloVALID\nALREADY-HAVE\n",
        )
        await talk.idle()


async def test_what_was_asked_before_leaving_is_answered() -> None:
    async with talking(store()) as talk:
        await talk.say(line(b"CHECKPRESENT", RAW) + line(b"CHECKPRESENT", ABSENT))
        await talk.stream.send_eof()
        await talk.hear(b"SUCCESS\nFAILURE\n")
        await talk.closed()
        assert talk.problem is None


def test_every_request_has_a_handler() -> None:
    for state in (State.IDLE, State.PUT_REFUSED):
        assert set(HANDLERS) == set(TABLE[state][Side.CLIENT])


# Bad lines, and ERROR ----------------------------------------------------------------------------------------------


async def test_bad_lines_end_a_request_and_not_the_conversation() -> None:
    here = store()
    async with talking(here) as talk:
        await talk.ask(b"FOO\n", b"ERROR unknown command\n")
        await talk.ask(b"CHECKPRESENT foo\n", b"ERROR unknown command\n")
        await talk.ask(b"SUCCESS\n", b"ERROR unexpected command\n")
        await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
        await talk.ask(b"GETTIMESTAMP\n", b"ERROR expected DATA\n")
        await talk.idle()
        await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
        await talk.ask(b"DATA 6\nabsentFOO\n", b"ERROR expected VALID or INVALID\n")
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")
        await talk.ask(b"FOO\n", b"ERROR expected SUCCESS or FAILURE\n")
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.ask(line(b"REMOVE", RAW), b"ERROR expected UNLOCKCONTENT\n")
        await talk.ask(line(b"REMOVE", RAW), b"FAILURE\n")
        await talk.idle()
    assert talk.problem is None
    assert not here._uploading


async def test_a_client_that_gives_up_between_requests_is_let_go() -> None:
    async with talking(store()) as talk:
        await talk.say(b"ERROR I cannot go on\n" + line(b"CHECKPRESENT", RAW))
        await talk.closed()
    assert talk.problem is None


async def test_a_line_that_is_too_long() -> None:
    async with talking(store()) as talk:
        await talk.ask(b"x" * 32768, b"ERROR line too long\n")
        await talk.closed()
    assert isinstance(talk.problem, ConnectionLost)


# Modes -------------------------------------------------------------------------------------------------------------

DENIED = b"ERROR this repository is read-only; write access denied\n"
NO_REMOVAL = b"ERROR this repository is append-only; removal denied\n"


async def test_read_only() -> None:
    here = store()
    async with talking(here, mode=Mode.READ_ONLY) as talk:
        for request in (b"PUT  " + ABSENT, b"PUT  " + RAW, b"REMOVE " + RAW, b"REMOVE " + ABSENT):
            await talk.ask(request + b"\n", DENIED)
        await talk.ask(line(b"REMOVE-BEFORE 99999999", RAW), DENIED)
        await talk.ask(line(b"REMOVE-BEFORE 0", RAW), DENIED)
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")
        await talk.say(b"SUCCESS\n")
        await talk.idle()
        await talk.ask(b"CONNECT git-receive-pack\n", DENIED)
        await talk.closed()
    assert set(here.contents) == {K}


async def test_append_only() -> None:
    here = store()
    async with talking(here, mode=Mode.APPEND_ONLY) as talk:
        for request in (b"REMOVE " + RAW, b"REMOVE " + ABSENT, b"REMOVE-BEFORE 99999999 " + RAW):
            await talk.ask(request + b"\n", NO_REMOVAL)
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
        await talk.ask(b"DATA 6\nabsentVALID\n", b"SUCCESS\n")
        await talk.ask(b"CONNECT git-receive-pack\n", DENIED)
        await talk.closed()
    assert set(here.contents) == {K, A}


# Services that fail ------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store that fails with `error` at the points named in `at`, a transfer after `after` bytes."""

    def __init__(self, error: Exception, *at: str, after: int = 0) -> None:
        super().__init__(U)
        self.contents[K] = HELLO
        self.error = error
        self.at = at
        self.after = after

    def check(self, point: str) -> None:
        if point in self.at:
            raise self.error

    async def check_present(self, key: Key) -> bool:
        self.check("check_present")
        return await super().check_present(key)

    async def lock(self, key: Key) -> Lock | None:
        self.check("lock")
        lock = await super().lock(key)
        return lock and FailingLock(self, lock)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        self.check("remove")
        return await super().remove(key, before=before)

    async def timestamp(self) -> int:
        self.check("timestamp")
        return await super().timestamp()

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        self.check("put")
        upload = await super().put(key, file)
        assert isinstance(upload, Upload)
        return FailingUpload(self, upload)

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        self.check("get")
        return FailingDownload(self, await super().get(key, offset=offset, file=file))


class FailingLock(Lock):
    def __init__(self, store: Failing, lock: Lock) -> None:
        self._store = store
        self._lock = lock

    async def release(self) -> None:
        self._store.check("release")
        await self._lock.release()

    async def aclose(self) -> None:
        await self._lock.aclose()


class FailingUpload(Upload):
    def __init__(self, store: Failing, upload: Upload) -> None:
        self._store = store
        self._upload = upload
        self._got = 0
        self.offset = upload.offset

    async def begin(self, length: int) -> None:
        self._store.check("begin")
        await self._upload.begin(length)

    async def send_all(self, view: memoryview) -> None:
        self._got += len(view)
        if self._got > self._store.after:
            self._store.check("send_all")
        await self._upload.send_all(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        self._store.check("finish")
        return await self._upload.finish(valid)

    async def data_present(self) -> Stored | NotStored:
        self._store.check("data_present")
        return await self._upload.data_present()

    async def aclose(self) -> None:
        await self._upload.aclose()
        self._store.check("aclose")


class FailingDownload(Download):
    def __init__(self, store: Failing, download: Download) -> None:
        self._store = store
        self._download = download
        self._given = 0
        self.length = download.length

    async def readinto(self, view: memoryview) -> int:
        if self._given >= self._store.after:
            self._store.check("readinto")
        count = await self._download.readinto(view[:1000])
        self._given += count
        return count

    async def valid(self) -> bool:
        self._store.check("valid")
        return await self._download.valid()

    async def finish(self, received: bool) -> None:
        self._store.check("receipt")
        await self._download.finish(received)

    async def aclose(self) -> None:
        await self._download.aclose()


ERRORS = [RemoteError("the disk\nis full"), ConnectionLost("the disk\nis full")]
"""A request that fails, and a connection that a service had behind it: both are told, neither ends the conversation."""
TOLD = b"ERROR the disk is full\n"
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


@each_error
@pytest.mark.parametrize(
    ("point", "request_"),
    [
        ("check_present", b"CHECKPRESENT " + RAW),
        ("lock", b"LOCKCONTENT " + RAW),
        ("remove", b"REMOVE " + RAW),
        ("remove", b"REMOVE-BEFORE 99 " + RAW),
        ("timestamp", b"GETTIMESTAMP"),
        ("put", b"PUT  " + ABSENT),
        ("get", b"GET 0  " + RAW),
    ],
)
async def test_requests_that_fail(error: Exception, point: str, request_: bytes) -> None:
    async with talking(Failing(error, point)) as talk:
        for _ in range(2):
            await talk.ask(request_ + b"\n", TOLD)
        await talk.ask(b"FOO\n", b"ERROR unknown command\n")


@each_error
@pytest.mark.parametrize("point", ["begin", "send_all", "finish", "aclose"])
@pytest.mark.parametrize("size", [6, 70_000, 3_500_000])
@pytest.mark.parametrize("after", [0, 100_000, 2_500_000])
@pytest.mark.parametrize("version", [0, 4])
async def test_an_upload_that_fails_is_read_to_its_end(
    error: Exception, point: str, size: int, after: int, version: int
) -> None:
    """A client cannot be stopped in its body: the rest is read past, the answer is ERROR, the connection lives."""
    if after >= size:
        return
    content = sample(size)
    here = Failing(error, point, after=after)
    async with talking(here, version=version) as talk:
        for _ in range(2):
            key = key_of(content)
            await talk.ask(line(b"PUT ", key.raw), b"PUT-FROM ")
            offset = len(here.partials.get(key, b""))
            await talk.hear(b"%d\n" % offset)
            await talk.say(b"DATA %d\n" % (size - offset))
            await talk.say(content[offset:])
            if version:
                await talk.say(b"VALID\n")
            fails = point in ("begin", "finish") or (point == "send_all" and size - offset > after)
            await talk.hear(TOLD if fails else b"SUCCESS\n")
            await talk.idle()
            here.contents.pop(key, None)
    assert talk.problem is None
    assert not here._uploading


@each_error
async def test_data_present_that_fails(error: Exception) -> None:
    async with talking(Failing(error, "data_present")) as talk:
        await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
        await talk.ask(b"DATA-PRESENT\n", TOLD)
        await talk.idle()


@each_error
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_download_that_fails_in_its_body_can_only_be_closed(error: Exception, version: int) -> None:
    here = Failing(error, "readinto", after=3000)
    content = sample(200_000)
    here.contents[key_of(content)] = content
    async with talking(here, version=version) as talk:
        await talk.say(line(b"GET 0 ", key_of(content).raw))
        with trio.fail_after(5):
            got = b""
            while data := await talk.stream.receive_some(65536):
                got += data
        assert (b"DATA 200000\n" + content).startswith(got)
        assert len(got) < 200_000
    assert isinstance(talk.problem, ConnectionLost)
    assert "the disk" in str(talk.problem)


@each_error
@pytest.mark.parametrize("version", [1, 4])
async def test_a_download_that_cannot_say_whether_it_is_valid(error: Exception, version: int) -> None:
    async with talking(Failing(error, "valid"), version=version) as talk:
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhello" + TOLD)
        await talk.idle()


@each_error
@pytest.mark.parametrize("point", ["receipt", "release"])
async def test_failures_that_nobody_waits_for_are_not_told(error: Exception, point: str) -> None:
    here = Failing(error, point)
    async with talking(here) as talk:
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")
        await talk.say(b"SUCCESS\n")
        await talk.idle()
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.idle()


# What is kept when a client leaves ---------------------------------------------------------------------------------


async def test_a_client_that_leaves_in_the_middle_of_its_body_resumes() -> None:
    here = store()
    content = sample(3_000_000)
    key = key_of(content)
    sent = 0
    for more in (10, 70_000, 1_500_000, 700_001):
        async with talking(here) as talk:
            await talk.ask(line(b"PUT ", key.raw), b"PUT-FROM %d\n" % sent)
            await talk.say(b"DATA %d\n" % (len(content) - sent))
            await talk.say(content[sent : sent + more])
        sent += more
        assert isinstance(talk.problem, ConnectionLost)
        assert here.partials[key] == content[:sent], "what arrived is kept, to the last byte"
    async with talking(here) as talk:
        await talk.ask(line(b"PUT ", key.raw), b"PUT-FROM %d\n" % sent)
        await talk.ask(b"DATA %d\n" % (len(content) - sent) + content[sent:] + b"VALID\n", b"SUCCESS\n")
    assert here.contents[key] == content
    assert not here.partials


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")],
        [(line(b"PUT ", ABSENT), b"PUT-FROM 0\n"), (b"DATA 6\nabsent", b"")],
        [(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")],
        [(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")],
        [(b"CHECKPRESENT ", b"")],
    ],
)
async def test_leaving_anywhere_leaves_nothing_open(said: list[tuple[bytes, bytes]]) -> None:
    here = store()
    async with talking(here) as talk:
        for words, answer in said:
            await talk.ask(words, answer)
    assert (talk.problem is None) is (not said)
    assert not here._uploading
    assert set(here.contents) == {K}
    async with talking(here) as talk:
        await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM ")


# LOCKCONTENT -------------------------------------------------------------------------------------------------------


async def remove(service: Service) -> bool:
    return (await service.remove(K)).ok


Leave = Callable[[Talk], Awaitable[None]]


async def end_of_file(talk: Talk) -> None:
    await talk.stream.send_eof()


async def close_all(talk: Talk) -> None:
    await talk.stream.aclose()


async def give_up(talk: Talk) -> None:
    await talk.say(b"ERROR I give up\n")


async def stop_in_a_line(talk: Talk) -> None:
    await talk.say(b"UNLOCKCONT")
    await talk.stream.aclose()


async def say_nonsense(talk: Talk) -> None:
    await talk.ask(b"UNLOCK\n", b"ERROR expected UNLOCKCONTENT\n")
    await talk.stream.aclose()


@pytest.mark.parametrize("leave", [end_of_file, close_all, give_up, stop_in_a_line, say_nonsense])
async def test_only_unlockcontent_ends_a_lock_early(leave: Leave) -> None:
    clock = Hands()
    here = store(clock=clock)
    async with talking(here) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        assert not await remove(here)
        await leave(talk)
        with trio.fail_after(5):
            await talk.done.wait()
    assert not await remove(here)
    clock.now += RETENTION - 1
    assert not await remove(here)
    clock.now += 1
    assert await remove(here)


async def test_a_reset_keeps_the_lock() -> None:
    clock = Hands()
    here = store(clock=clock)
    one, other = trio.testing.memory_stream_pair()
    locking = line(b"LOCKCONTENT", RAW)
    peer = StreamPeer(FaultyStream(other, Fault.BREAK, receives=len(locking)), Side.SERVER, state=State.IDLE, timeout=5)
    await one.send_all(locking)
    with pytest.raises(ConnectionLost):
        await serve(peer, here)
    assert await one.receive_some(100) == b"SUCCESS\n"
    assert not await remove(here)
    clock.now += RETENTION
    assert await remove(here)


async def test_a_cancelled_server_keeps_the_lock() -> None:
    clock = Hands()
    here = store(clock=clock)
    one, other = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, StreamPeer(other, Side.SERVER, state=State.IDLE), here)
        await one.send_all(line(b"LOCKCONTENT", RAW))
        assert await one.receive_some(100) == b"SUCCESS\n"
        nursery.cancel_scope.cancel()
    assert not await remove(here)
    clock.now += RETENTION
    assert await remove(here)


async def test_a_lock_is_held_for_as_long_as_its_holder_is_there() -> None:
    clock = Hands()
    here = store(clock=clock)
    async with talking(here) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        clock.now += 10 * RETENTION
        assert not await remove(here)
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.idle()
        assert await remove(here)


async def test_a_silent_holder_is_not_waited_for_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    clock = Hands()
    here = store(clock=clock)
    async with talking(here, idle_timeout=300) as talk:
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.closed(within=301)
    assert isinstance(talk.problem, ConnectionLost)
    assert not await remove(here)
    clock.now += RETENTION
    assert await remove(here)


# Deadlines ---------------------------------------------------------------------------------------------------------


async def test_a_client_that_stops_in_the_middle_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    for words in (b"DATA 6\nabs", b"DATA 6\nabsent", b""):
        here = store()
        async with talking(here, timeout=60) as talk:
            await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
            if words:
                await talk.say(words)
            with trio.fail_after(61):
                await talk.done.wait()
        assert isinstance(talk.problem, ConnectionLost)
        assert not here._uploading


async def test_a_client_may_be_silent_between_requests(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(store(), timeout=60) as talk:
        await trio.sleep(10_000)
        await talk.idle()


async def test_unless_it_may_not(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(store(), timeout=60, idle_timeout=100) as talk:
        await trio.sleep(99)
        await talk.idle()
        await talk.closed(within=101)
    assert isinstance(talk.problem, ConnectionLost)


# NOTIFYCHANGE ------------------------------------------------------------------------------------------------------


class Watched(MemoryStore):
    """A store with a git repository behind it, whose refs a test changes."""

    def __init__(self) -> None:
        super().__init__(U)
        self.contents[K] = HELLO
        self.send, self._receive = trio.open_memory_channel[tuple[str, ...]](100)
        self.watchers = 0
        self.watched = 0

    async def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        self.watchers += 1
        self.watched += 1
        try:
            async for refs in self._receive:
                yield refs
            raise RemoteError("the repository went away")
        finally:
            self.watchers -= 1


async def test_changes_are_told_as_they_happen() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        await here.send.send(("refs/heads/main",))
        await talk.hear(b"CHANGED refs/heads/main\n")
        await here.send.send(("a", "b"))
        await here.send.send(("c",))
        await talk.idle()
        await talk.ask(b"NOTIFYCHANGE\n", b"CHANGED a b\n")
        await talk.ask(b"NOTIFYCHANGE\n", b"CHANGED c\n")
        await talk.idle()
        assert here.watched == 1, "what changes between two requests is not missed"
    assert here.watchers == 0


async def test_a_client_that_leaves_while_it_waits_for_changes_is_noticed() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        assert here.watchers == 1
    assert here.watchers == 0
    assert isinstance(talk.problem, ConnectionLost)


async def test_a_request_that_comes_while_it_waits_for_changes_is_answered_after() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n" + line(b"CHECKPRESENT", RAW))
        await trio.testing.wait_all_tasks_blocked()
        await here.send.send(("r",))
        await talk.hear(b"CHANGED r\nSUCCESS\n")


async def test_changes_that_fail() -> None:
    here = Watched()
    async with talking(here) as talk:
        await talk.say(b"NOTIFYCHANGE\n")
        await trio.testing.wait_all_tasks_blocked()
        await here.send.aclose()
        await talk.hear(b"ERROR the repository went away\n")
        await talk.ask(b"NOTIFYCHANGE\n", b"ERROR the repository went away\n")
        await talk.idle()
    assert here.watchers == 0
    assert here.watched == 2


# CONNECT -----------------------------------------------------------------------------------------------------------


class Git(MemoryStore):
    """A store with a program behind it that says back what it hears, in capitals, and ends at a dot."""

    def __init__(self) -> None:
        super().__init__(U)
        self.programs: list[str] = []

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        self.programs.append(program)
        async for data in stream:
            await stream.send_all(data.upper())
            if b"." in data:
                return 7
        return 128


async def test_connect() -> None:
    here = Git()
    async with talking(here) as talk:
        await talk.say(b"CONNECT git-upload-pack\n")
        await talk.ask(b"DATA 3\nabc", b"DATA 3\nABC")
        await talk.ask(b"DATA 0\nDATA 2\nd.", b"DATA 2\nD.CONNECTDONE 7\n")
        await talk.closed()
    assert here.programs == ["git-upload-pack"]
    assert talk.problem is None


async def test_connect_where_there_is_no_git_repository() -> None:
    async with talking(store()) as talk:
        await talk.ask(b"CONNECT git-upload-pack\n", b"ERROR there is no git repository here\n")
        await talk.closed()
    assert talk.problem is None


async def test_connect_to_anything_else_is_no_command() -> None:
    here = Git()
    async with talking(here) as talk:
        await talk.ask(b"CONNECT git-upload-archive\n", b"ERROR unknown command\n")
        await talk.ask(b"CONNECT /bin/sh\n", b"ERROR unknown command\n")
        await talk.idle()
    assert not here.programs


async def test_in_connect_the_end_is_told_to_the_program_and_its_exit_code_to_the_client() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.stream.send_eof()
        await talk.hear(b"CONNECTDONE 128\n")
        await talk.closed()


async def test_in_connect_a_bad_line_ends_it() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.ask(b"FOO\n", b"ERROR expected DATA\n")
        await talk.closed()


async def test_in_connect_a_client_may_give_up() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.say(b"ERROR no\n")
        await talk.closed()


async def test_in_connect_silence_is_no_fault(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(Git(), timeout=60) as talk:
        await talk.say(b"CONNECT git-upload-pack\n")
        await trio.sleep(10_000)
        await talk.ask(b"DATA 1\n.", b"DATA 1\n.CONNECTDONE 7\n")


# Repositories that are named ---------------------------------------------------------------------------------------


class Several(MemoryStore):
    """Answers as a cluster does."""

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        return Removal(key == K, frozenset(["v", "u"]))

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if key == K:
            return AlreadyHave(frozenset(["v", "u"]))
        return SeveralUpload()


class SeveralUpload(Upload):
    async def begin(self, length: int) -> None:
        pass

    async def send_all(self, view: memoryview) -> None:
        self.stored = bytes(view) == b"absent"

    async def finish(self, valid: bool) -> Stored | NotStored:
        return Stored(frozenset(["w"])) if self.stored else NotStored(frozenset(["w"]))

    async def data_present(self) -> Stored | NotStored:
        return Stored(frozenset(["w"]))

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("version", VERSIONS)
async def test_repositories_are_named_from_version_2_on(version: int) -> None:
    plus = version >= 2
    valid = b"VALID\n" if version else b""
    async with talking(Several(U), version=version) as talk:
        await talk.ask(line(b"REMOVE", RAW), b"SUCCESS-PLUS u v\n" if plus else b"SUCCESS\n")
        await talk.ask(line(b"REMOVE", ABSENT), b"FAILURE-PLUS u v\n" if plus else b"FAILURE\n")
        await talk.ask(line(b"PUT ", RAW), b"ALREADY-HAVE-PLUS u v\n" if plus else b"ALREADY-HAVE\n")
        for content, answer in ((b"absent", b"SUCCESS"), (b"nt", b"FAILURE")):
            await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
            body = b"DATA %d\n" % len(content) + content + valid
            await talk.ask(body, answer + (b"-PLUS w\n" if plus else b"\n"))
        if version >= 4:
            await talk.ask(line(b"PUT ", ABSENT), b"PUT-FROM 0\n")
            await talk.ask(b"DATA-PRESENT\n", b"SUCCESS-PLUS w\n")


class Bypassed(MemoryStore):
    def __init__(self) -> None:
        super().__init__(U)
        self.bypassed: list[frozenset[str]] = []

    def bypassing(self, uuids: frozenset[str]) -> Service:
        self.bypassed.append(uuids)
        return self


async def test_bypass_is_passed_on() -> None:
    here = Bypassed()
    async with talking(here) as talk:
        await talk.say(b"BYPASS u v\nBYPASS\n")
        await talk.idle()
    assert here.bypassed == [frozenset("uv"), frozenset()]


# Cancelled anywhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2000, 2_500_000])
async def test_a_server_cancelled_anywhere_leaves_a_store_that_is_right(size: int) -> None:
    content = sample(size)
    key = key_of(content)

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        clock = Hands()
        here = store(clock=clock)
        one, other = trio.testing.memory_stream_pair()
        talk = Talk(one)
        said: list[str] = []

        async def client() -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
                await talk.ask(line(b"PUT ", key.raw), b"PUT-FROM 0\n")
                await talk.say(b"DATA %d\n" % size + content + b"VALID\n")
                await talk.hear(b"SUCCESS\n")
                said.append("stored")
                await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
                said.append("locked")
                await talk.say(b"UNLOCKCONTENT\n")
                await talk.ask(line(b"LOCKCONTENT", key.raw), b"SUCCESS\n")
                said.append("kept")
                await talk.stream.aclose()

        async def operation() -> None:
            peer = StreamPeer(other, Side.SERVER, state=State.IDLE, timeout=5)
            peer.connection.version = LATEST_VERSION
            with contextlib.suppress(ConnectionLost):
                await serve(peer, here)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            yield operation
            with trio.fail_after(5):
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert here.contents[K] == HELLO
        assert here.contents.get(key, content) == content
        assert bytes(here.partials.get(key, b"")) == content[: len(here.partials.get(key, b""))]
        assert not here._uploading
        if "stored" in said:
            assert key in here.contents
        if "kept" in said:
            assert not (await here.remove(key)).ok
            clock.now += RETENTION
            assert (await here.remove(key)).ok

    assert await cancel_everywhere(world) > 10
