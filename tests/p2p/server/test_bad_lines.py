"""Bad lines, and ERROR from the client."""

from __future__ import annotations

from p2pannex.errors import ConnectionLost
from tests.p2p.server.talk import ABSENT, RAW, line, store, talking


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
