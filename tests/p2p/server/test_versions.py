"""VERSION, and what each version can tell."""

from __future__ import annotations

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Removal, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from tests.p2p.server.talk import ABSENT, RAW, VERSIONS, U, line, store, talking
from tests.support.keys import HELLO_KEY as K


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
