"""From a download into the body of a message, over every transport."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p import bodies
from p2pannex.protocol.messages import AuthSuccess, Data, Get
from p2pannex.service import Download, FileRange
from p2pannex.system.disk_errors import disk_errors
from p2pannex.testing.pair import PEERS, peer_pair
from p2pannex.transports.pump import BLOCK, SMALL_BODY
from tests.transports.ends import CONTENT, Broken, Source


class Bytes(Download):
    """A download of bytes, which may break."""

    def __init__(self, content: bytes, *, fails: int | None = None) -> None:
        self.length = len(content)
        self._source = Source(content, [100_000], fails=fails)

    async def readinto(self, view: memoryview) -> int:
        return await self._source.readinto(view)

    async def valid(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


class Range:
    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self.position = position

    def fileno(self) -> int:
        return self._fd

    def advance(self, count: int) -> None:
        self.position += count


class File(Bytes):
    """A download that is a range of a file."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        super().__init__(b"")
        self.length = length
        self._range = Range(fd, offset)

    @property
    def file_range(self) -> FileRange:
        return self._range

    async def readinto(self, view: memoryview) -> int:
        with disk_errors("cannot read the content"):
            count = os.preadv(self._range.fileno(), [view], self._range.position)
        self._range.advance(count)
        return count


class Elsewhere(File):
    """A download that goes on with content of its own where its file ends."""

    def __init__(self, fd: int, content: bytes) -> None:
        super().__init__(fd, 0, len(content))
        self._content = content

    async def readinto(self, view: memoryview) -> int:
        position = self._range.position
        count = len(self._content[position : position + len(view)])
        view[:count] = self._content[position : position + count]
        self._range.advance(count)
        return count


async def sent(transport: str, download: Download, *, fails: type[Exception] | None = None) -> bytes:
    """What arrives at the far side of a peer."""
    client, server = peer_pair(transport, timeout=60)
    got = bytearray()

    async def receive() -> None:
        assert await client.receive() == AuthSuccess("u")
        await client.send(Get(0, None, Key(b"WORM--x")))
        announced = await client.receive()
        assert announced == Data(download.length) or (announced is None and fails is not None)
        block = bytearray(50_000)
        try:
            while count := await client.read_body(memoryview(block)):
                got.extend(block[:count])
        except ConnectionLost:
            assert fails is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await server.send(AuthSuccess("u"))
        await server.receive()
        server.queue(Data(download.length))
        if fails is None:
            await bodies.send(download, server)
            await server.flush()
        else:
            with pytest.raises(fails):
                await bodies.send(download, server)
        await server.aclose()
    await client.aclose()
    return bytes(got)


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [0, 1, SMALL_BODY, SMALL_BODY + 1, BLOCK + 1, 3 * BLOCK + 7])
async def test_downloads_arrive(transport: str, length: int, tmp_path: Path) -> None:
    content = CONTENT[:length]
    assert await sent(transport, Bytes(content)) == content
    path = tmp_path / "content"
    path.write_bytes(b"before" + content + b"after")
    with path.open("rb") as file:
        assert await sent(transport, File(file.fileno(), 6, length)) == content


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [SMALL_BODY, 3 * BLOCK])
async def test_a_file_that_is_shorter_than_it_was(transport: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT[: length - 1000])
    with path.open("rb") as file:
        got = await sent(transport, File(file.fileno(), 0, length), fails=ConnectionLost)
    assert got == CONTENT[: len(got)]


@pytest.mark.parametrize("transport", PEERS)
async def test_a_download_that_breaks(transport: str) -> None:
    got = await sent(transport, Bytes(CONTENT[: 3 * BLOCK], fails=BLOCK + 1000), fails=Broken)
    assert got == CONTENT[: len(got)]


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The far side is as it was: it is the content that failed, and that is what the error says."""
    fd = os.open(tmp_path / "written only", os.O_WRONLY | os.O_CREAT)
    try:
        await sent("socket", File(fd, 0, 3 * BLOCK), fails=RemoteError)
    finally:
        os.close(fd)


@pytest.mark.parametrize("transport", PEERS)
@pytest.mark.parametrize("length", [-1, 0, SMALL_BODY, BLOCK + 4096])
async def test_a_download_that_goes_on_where_its_file_does_not(transport: str, length: int, tmp_path: Path) -> None:
    """It ends early, or, for -1, cannot be read at all; as a cluster's, whose other nodes have the rest."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT[: max(length, 0)])
    fd = os.open(path, os.O_WRONLY if length < 0 else os.O_RDONLY)
    try:
        assert await sent(transport, Elsewhere(fd, CONTENT[: 3 * BLOCK])) == CONTENT[: 3 * BLOCK]
    finally:
        os.close(fd)
