"""How long a server waits for a client."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.p2p import client_watch
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side, State
from p2pannex.testing.samples import key_of, sample
from tests.p2p.server.talk import ABSENT, RAW, line, store, talking


@pytest.fixture(autouse=True)
def _rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that looks for its client every second would do so 36,000 times in ten simulated hours."""
    monkeypatch.setattr(client_watch, "INTERVAL", 600.0)


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


UPLOAD, DOWNLOAD = line(b"PUT ", ABSENT), line(b"GET 0 ", RAW)
HOURS = 10 * 3600


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ([UPLOAD, b"DATA 6\nabsentVALID\n"], [b"PUT-FROM 0\n", b"SUCCESS\n"]),
        ([UPLOAD, b"DATA 6\nabs", b"ent", b"VALID\n"], [b"PUT-FROM 0\n", b"", b"", b"SUCCESS\n"]),
        ([UPLOAD + b"DA", b"TA 6\nabsent", b"VA", b"LID\n"], [b"PUT-FROM 0\n", b"", b"", b"SUCCESS\n"]),
        ([DOWNLOAD, b"SUCCESS\n"], [b"DATA 5\nhelloVALID\n", b""]),
        ([b"LOCKCONTENT " + RAW + b"\n", b"UNLOCKCONTENT\n"], [b"SUCCESS\n", b""]),
    ],
    ids=["before DATA", "in a body", "in a line", "before its receipt", "with a lock"],
)
async def test_a_client_at_work_is_waited_for(
    said: list[bytes], heard: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    """It may hash any amount of content there, which takes any time, and it says nothing meanwhile."""
    async with talking(store(), timeout=None) as talk:
        for words, answer in zip(said, heard, strict=True):
            await trio.sleep(HOURS)
            await talk.ask(words, answer)
        await talk.ask(b"CHECKPRESENT " + RAW + b"\n", b"SUCCESS\n")


async def test_a_client_that_reads_nothing_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """git-annex asks for the rest of content, and hashes what it has before it reads the first byte."""
    content = sample(3_000_000)
    key = key_of(content)
    one, other = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, StreamPeer(other, Side.SERVER, state=State.IDLE), store(content))
        await one.send_all(line(b"GET 0 ", key.raw))
        got = bytearray()
        while len(got) < len(content):
            if len(got) < 1000 or len(got) > len(content) - 100_000:
                await trio.sleep(HOURS)
            got += await one.receive_some(65536)
        assert got.endswith(content[-1000:])
        await one.send_all(b"SUCCESS\n")
        await one.aclose()
