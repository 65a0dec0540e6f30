"""PUT: uploads that fail, and clients that leave in the middle."""

from __future__ import annotations

import pytest

from p2pannex.errors import ConnectionLost
from p2pannex.testing.samples import key_of, sample
from tests.p2p.server.failing import TOLD, Failing, each_error
from tests.p2p.server.talk import ABSENT, line, store, talking


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
