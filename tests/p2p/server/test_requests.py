"""A server, spoken to in bytes: every request at every version, requests that fail, and clients that leave."""

from __future__ import annotations

import pytest

from p2pannex.p2p.server import HANDLERS
from p2pannex.protocol.conversation import TABLE, Side, State
from p2pannex.testing.samples import key_of
from tests.p2p.server.failing import TOLD, Failing, each_error
from tests.p2p.server.talk import ABSENT, RAW, VERSIONS, line, store, talking
from tests.support.clocks import ManualClock
from tests.support.keys import HELLO_KEY as K


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
    clock = ManualClock()
    here = store(clock=clock)
    async with talking(here, version=version) as talk:
        await talk.ask(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        clock.monotonic_now = 1000.9
        await talk.ask(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        await talk.ask(line(b"REMOVE-BEFORE 1000", RAW), b"FAILURE\n")
        await talk.ask(line(b"REMOVE-BEFORE 999", RAW), b"FAILURE\n")
        assert K in here.contents
        await talk.ask(line(b"REMOVE-BEFORE 1001", RAW), b"SUCCESS\n")
        assert K not in here.contents


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
@pytest.mark.parametrize("point", ["receipt", "release"])
async def test_failures_after_the_reply_are_not_sent(error: Exception, point: str) -> None:
    here = Failing(error, point)
    async with talking(here) as talk:
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")
        await talk.say(b"SUCCESS\n")
        await talk.idle()
        await talk.ask(line(b"LOCKCONTENT", RAW), b"SUCCESS\n")
        await talk.say(b"UNLOCKCONTENT\n")
        await talk.idle()


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
