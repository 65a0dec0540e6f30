"""GET: downloads that fail."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.service import Download
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of, sample
from tests.p2p.server.failing import TOLD, Failing, each_error
from tests.p2p.server.talk import RAW, VERSIONS, line, talking
from tests.support.keys import HELLO
from tests.support.keys import HELLO_KEY as K


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


@pytest.mark.parametrize("receipt", [b"SUCCESS", b"FAILURE"])
async def test_the_service_learns_whether_the_client_received_the_content(receipt: bytes) -> None:
    receipts: list[bool] = []

    class Noting(MemoryStore):
        async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
            download = await super().get(key, offset=offset, file=file)

            async def finish(received: bool) -> None:
                receipts.append(received)

            download.finish = finish  # type: ignore[method-assign]
            return download

    here = Noting()
    here.contents[K] = HELLO
    async with talking(here) as talk:
        await talk.ask(line(b"GET 0 ", RAW), b"DATA 5\nhelloVALID\n")
        await talk.say(receipt + b"\n")
        await talk.idle()
    assert receipts == [receipt == b"SUCCESS"]
