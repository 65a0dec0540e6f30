"""GET: downloads that fail."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.testing.samples import key_of, sample
from tests.p2p.server.failing import TOLD, Failing, each_error
from tests.p2p.server.talk import RAW, VERSIONS, line, talking


@each_error
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_download_that_fails_in_its_body_can_only_be_closed(error: Exception, version: int) -> None:
    here = Failing(error, "readinto", after=3000)
    content = sample(200_000)
    here.contents[key_of(content)] = content
    async with talking(here, version=version) as talk:
        await talk.say(line(b"GET 0 ", key_of(content).raw))
        with trio.fail_after(50):
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
