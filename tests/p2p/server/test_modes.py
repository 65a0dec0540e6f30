"""What each mode allows."""

from __future__ import annotations

from p2pannex.access import Mode
from tests.p2p.server.talk import ABSENT, RAW, A, line, store, talking
from tests.support.keys import HELLO_KEY as K

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
