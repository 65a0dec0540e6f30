"""How long a client waits for a server: as long as a slow one may need to hash what it has, and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import UNKNOWN_SIZE, Remote
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.service import HASHING_RATE, Upload

TIMEOUT = 60
SIZE = 40_000_000_000
DIGEST = b"0" * 64
KEY = Key.parse(b"SHA256-s%d--%b" % (SIZE, DIGEST))
UNSIZED = Key.parse(b"SHA256--" + DIGEST)
NO_HASH = Key.parse(b"URL--http://x")


class Silent:
    """A server that is silent for `seconds` before each reply, and for `before_body` before it takes a body."""

    def __init__(self, seconds: float, before_body: float) -> None:
        self.seconds = seconds
        self.before_body = before_body

    async def run(self, stream: trio.abc.Stream, replies: list[bytes], body: int) -> None:
        try:
            await stream.send_all(b"AUTH-SUCCESS u\n")
            await stream.receive_some(100)
            await stream.send_all(b"VERSION 4\n")
            for reply in replies:
                line = b""
                while not line.endswith(b"\n"):
                    line += await stream.receive_some(1)
                if line.startswith(b"DATA "):
                    await trio.sleep(self.before_body)
                    while body:
                        body -= len(await stream.receive_some(65536 if body > 65536 else body))
                    await stream.receive_some(100)  # VALID
                await trio.sleep(self.seconds)
                await stream.send_all(reply)
            await trio.sleep_forever()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def silent(
    seconds: float, replies: list[bytes], body: int = 0, *, before_body: float | None = None
) -> AsyncIterator[Remote]:
    async with trio.open_nursery() as nursery:

        async def dial() -> Peer:
            one, other = trio.testing.lockstep_stream_pair()
            nursery.start_soon(
                Silent(seconds, seconds if before_body is None else before_body).run, other, replies, body
            )
            return StreamPeer(one, Side.CLIENT, timeout=TIMEOUT)

        async with Remote(dial, "u", timeout=TIMEOUT) as remote:
            yield remote
        nursery.cancel_scope.cancel()


Ask = Callable[[Remote, Key], Awaitable[object]]

REQUESTS: dict[str, tuple[bytes, Ask]] = {
    "CHECKPRESENT": (b"SUCCESS\n", lambda remote, key: remote.check_present(key)),
    "LOCKCONTENT": (b"SUCCESS\n", lambda remote, key: remote.lock(key)),
    "PUT": (b"ALREADY-HAVE\n", lambda remote, key: remote.put(key)),
    "GET": (b"DATA 0\n", lambda remote, key: remote.get(key)),
    "REMOVE": (b"SUCCESS\n", lambda remote, key: remote.remove(key)),
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(
    ("key", "to_hash"), [(KEY, SIZE), (UNSIZED, UNKNOWN_SIZE), (NO_HASH, 0)], ids=["sized", "unsized", "no hash"]
)
async def test_a_reply_about_content_may_take_as_long_as_hashing_it(
    request_: str, key: Key, to_hash: int, autojump_clock: trio.testing.MockClock
) -> None:
    reply, ask = REQUESTS[request_]
    longest = TIMEOUT + to_hash / HASHING_RATE
    async with silent(longest - 1, [reply]) as remote:
        await ask(remote, key)
    async with silent(longest + 1, [reply]) as remote:
        with pytest.raises(ConnectionLost, match="did nothing for"):
            await ask(remote, key)


async def test_a_reply_without_content_may_not(autojump_clock: trio.testing.MockClock) -> None:
    async with silent(TIMEOUT + 1, [b"TIMESTAMP 1\n"]) as remote:
        with pytest.raises(ConnectionLost):
            await remote.timestamp()


KEPT, REST = SIZE - 3_000_000, 3_000_000


@pytest.mark.parametrize("late", [False, True])
async def test_an_upload_may_be_hashed_before_its_first_byte_and_after_its_last(
    late: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The server kept most of the content, and hashes that before it reads anything, and all of it at the end."""
    longest = TIMEOUT + SIZE / HASHING_RATE
    replies = [b"PUT-FROM %d\n" % KEPT, b"SUCCESS\n"]
    async with silent(longest - 1, replies, REST, before_body=longest + (1 if late else -1)) as remote:
        upload = await remote.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(REST)
            if late:
                with pytest.raises(ConnectionLost):
                    await upload.send_all(memoryview(bytes(REST)))
                return
            await upload.send_all(memoryview(bytes(REST)))
            await upload.finish(True)


async def test_a_server_that_kept_nothing_has_nothing_to_hash(autojump_clock: trio.testing.MockClock) -> None:
    """If it takes nothing, it hangs, however large the content is. What it has got already may take time again."""
    async with silent(TIMEOUT + 1, [b"PUT-FROM 0\n"], REST) as remote:
        upload = await remote.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(SIZE)
            with pytest.raises(ConnectionLost):
                await upload.send_all(memoryview(bytes(REST)))


async def test_a_connection_that_is_used_again_has_its_usual_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with silent(0, [b"PUT-FROM 0\n", b"SUCCESS\n"], 100) as remote:
        upload = await remote.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(100)
            await upload.send_all(memoryview(bytes(100)))
            await upload.finish(True)
        started = trio.current_time()
        with pytest.raises(ConnectionLost):
            await remote.timestamp()  # it answers nothing any more
        assert trio.current_time() - started <= TIMEOUT + 1


async def test_connecting_takes_no_longer_than_the_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async def dial() -> Peer:
        await trio.sleep(2 * TIMEOUT)
        raise ConnectionLost("too late")

    async with Remote(dial, "u", timeout=TIMEOUT) as remote:
        with pytest.raises(ConnectionLost, match="no connection within 60 s"):
            await remote.check_present(KEY)
        assert trio.current_time() <= TIMEOUT + 1
