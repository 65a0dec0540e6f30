"""The stream over raw descriptors: trio's own contract for streams, and the three things that it adds."""

# ruff: noqa: PT012 - what is asserted is how far it goes before it breaks

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.p2p.stream_peer import ReceivesInto, ReceivesNow, SendsFiles, SendsNow
from p2pannex.testing.faults import Operation, cancel_everywhere
from p2pannex.testing.samples import sample
from p2pannex.transports.descriptor import F_SETPIPE_SZ, PIPE_SIZE, DescriptorStream

Pair = tuple[DescriptorStream, DescriptorStream]


def over_sockets() -> Pair:
    one, other = socket.socketpair()
    return DescriptorStream.over_socket(one), DescriptorStream.over_socket(other)


def over_pipes() -> Pair:
    (read_one, write_one), (read_other, write_other) = os.pipe(), os.pipe()
    return DescriptorStream(read_one, write_other), DescriptorStream(read_other, write_one)


MAKERS = {"sockets": over_sockets, "pipes": over_pipes}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
Make = Callable[[], Pair]


@asynccontextmanager
async def pair(make: Make) -> AsyncIterator[Pair]:
    one, other = make()
    try:
        yield one, other
    finally:
        one.close()
        other.close()


@each
async def test_what_a_peer_looks_for(make: Make) -> None:
    async with pair(make) as (one, _):
        assert isinstance(one, ReceivesInto)
        assert isinstance(one, ReceivesNow)
        assert isinstance(one, SendsFiles)
        assert isinstance(one, SendsNow)


@each
async def test_what_has_arrived_is_had_without_waiting(make: Make) -> None:
    async with pair(make) as (one, other):
        assert other.receive_nowait() is None
        await one.send_all(b"some")
        assert other.receive_nowait() == b"some"
        assert other.receive_nowait() is None
        one.close()
        assert other.receive_nowait() == b""
        other.close()
        with pytest.raises(trio.ClosedResourceError):
            other.receive_nowait()


@each
async def test_bytes_arrive(make: Make) -> None:
    data = sample(5_000_000)
    async with pair(make) as (one, other):
        got = bytearray()

        async def take() -> None:
            async for part in other:
                got.extend(part)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await one.send_all(data[:1_000_000])
            await one.send_all(memoryview(data)[1_000_000:2_000_000])
            await one.send_all(bytearray(data[2_000_000:]))
            await one.send_all(b"")
            await one.send_eof()
        assert got == data


@each
async def test_receive_into(make: Make) -> None:
    data = sample(1_000_000)
    async with pair(make) as (one, other), trio.open_nursery() as nursery:

        async def send() -> None:
            await one.send_all(data)
            await one.send_eof()

        nursery.start_soon(send)
        block, got = bytearray(70_000), bytearray()
        while count := await other.receive_into(memoryview(block)):
            got += block[:count]
        assert got == data
        assert await other.receive_into(memoryview(block)) == 0
        assert await other.receive_some() == b""


@each
async def test_send_file(make: Make, tmp_path: Path) -> None:
    data = sample(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    async with pair(make) as (one, other), trio.open_nursery() as nursery:
        with path.open("rb") as file:

            async def send() -> None:
                position = 1000
                while sent := await one.send_file(file.fileno(), position, 1 << 20):
                    position += sent
                assert position == len(data)
                await one.send_eof()

            nursery.start_soon(send)
            got = bytearray()
            while part := await other.receive_some():
                got += part
        assert got == data[1000:]


@each
async def test_send_file_that_cannot_be_read(make: Make, tmp_path: Path) -> None:
    """It is the file that fails, and the error says so: the stream is as it was."""
    async with pair(make) as (one, other):
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            await one.send_file(fd, 0, 10)
        os.close(fd)
        await one.send_all(b"x")
        assert await other.receive_some() == b"x"


@each
async def test_send_nowait(make: Make) -> None:
    async with pair(make) as (one, other):
        assert one.send_nowait(b"abc") == 3
        assert await other.receive_some() == b"abc"
        sent = 0
        while count := one.send_nowait(bytes(65536)):
            sent += count
        assert sent > 0, "and it stops when the far side takes no more"
        await other.aclose()
        with pytest.raises(trio.BrokenResourceError):
            one.send_nowait(b"x")
        await one.aclose()
        with pytest.raises(trio.ClosedResourceError):
            one.send_nowait(b"x")


# The end -----------------------------------------------------------------------------------------------------------


@each
async def test_the_end(make: Make) -> None:
    async with pair(make) as (one, other):
        assert not one.at_end()
        await other.send_all(b"last")
        await other.aclose()
        assert one.at_end(), "something came unasked, or the end did"
        assert await one.receive_some() == b"last"
        assert await one.receive_some() == b""
        assert await one.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            for _ in range(3):
                await one.send_all(bytes(100_000))


@each
async def test_half_closing(make: Make) -> None:
    async with pair(make) as (one, other):
        await one.send_eof()
        assert await other.receive_some() == b""
        await other.send_all(b"still here")
        assert await one.receive_some() == b"still here"


@each
async def test_closing_wakes_who_waits(make: Make) -> None:
    async with pair(make) as (one, _):

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await one.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            one.close()
        for call in (one.receive_some(), one.send_all(b"x"), one.receive_into(memoryview(bytearray(1)))):
            with pytest.raises(trio.ClosedResourceError):
                await call
        await one.aclose()
        assert one.at_end()


@each
async def test_closing_closes_the_descriptors(make: Make) -> None:
    before = set(os.listdir("/proc/self/fd"))
    one, other = make()
    await one.aclose()
    await one.aclose()
    await other.send_eof()
    await other.aclose()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_standard_streams_stay_open_and_blocking_as_they_were() -> None:
    read_fd, write_fd = os.pipe()
    stream = DescriptorStream(read_fd, write_fd, keep_open=True)
    assert not os.get_blocking(read_fd)
    await stream.send_all(b"x")
    assert await stream.receive_some() == b"x"
    await stream.aclose()
    assert os.get_blocking(read_fd)
    assert os.get_blocking(write_fd)
    os.close(read_fd)
    os.close(write_fd)


async def test_files_can_be_standard_streams(tmp_path: Path) -> None:
    """As with ``p2pannex-shell < requests > answers``."""
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_bytes(b"VERSION 4\n")
    stream = DescriptorStream(os.open(requests, os.O_RDONLY), os.open(answers, os.O_WRONLY | os.O_CREAT))
    assert await stream.receive_some() == b"VERSION 4\n"
    assert await stream.receive_some() == b""
    await stream.send_all(b"answer")
    await stream.aclose()
    assert answers.read_bytes() == b"answer"


@pytest.mark.skipif(F_SETPIPE_SZ is None, reason="pipes have one size here")
async def test_pipes_are_large() -> None:
    async with pair(over_pipes) as (one, _):
        import fcntl

        assert fcntl.fcntl(one._read_fd, fcntl.F_GETPIPE_SZ) == PIPE_SIZE


# Cancelled anywhere: it has happened, or it has not ----------------------------------------------------------------


@each
@pytest.mark.parametrize("into", [False, True])
async def test_a_cancelled_read_has_taken_nothing(make: Make, into: bool) -> None:
    data = sample(1000)

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        got = bytearray()
        async with pair(make) as (one, other):

            async def read() -> None:
                while len(got) < len(data):
                    if into:
                        block = bytearray(100)
                        count = await other.receive_into(memoryview(block))
                        got.extend(block[:count])
                    else:
                        got.extend(await other.receive_some(100))

            async def send() -> None:
                for start in range(0, len(data), 50):
                    await one.send_all(data[start : start + 50])
                    await trio.testing.wait_all_tasks_blocked()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                yield read
                await read()
                assert got == data

    assert await cancel_everywhere(world) > 5


@each
async def test_a_cancelled_send_file_is_counted(make: Make, tmp_path: Path) -> None:
    data = sample(5_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    @asynccontextmanager
    async def world() -> AsyncIterator[Operation]:
        position = 0
        got = bytearray()
        async with pair(make) as (one, other):
            with path.open("rb") as file:

                async def send() -> None:
                    nonlocal position
                    while sent := await one.send_file(file.fileno(), position, 1 << 20):
                        position += sent

                async def take() -> None:
                    async for part in other:
                        got.extend(part)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take)
                    yield send
                    await send()
                    await one.send_eof()
            assert got == data

    assert await cancel_everywhere(world) > 3


@each
async def test_calls_in_a_cancelled_scope_do_nothing(make: Make, tmp_path: Path) -> None:
    async with pair(make) as (one, other):
        await other.send_all(b"there")
        with (tmp_path / "file").open("w+b") as file, trio.CancelScope() as scope:
            file.write(b"content")
            file.flush()
            scope.cancel()
            for call in (
                lambda: one.receive_some(),
                lambda: one.receive_into(memoryview(bytearray(10))),
                lambda: one.send_all(b"x"),
                lambda: one.send_file(file.fileno(), 0, 7),
            ):
                with contextlib.suppress(trio.Cancelled):
                    await call()
                    raise AssertionError("it was not noticed")
        assert await one.receive_some() == b"there"
        assert not other.at_end()


# trio's own suite --------------------------------------------------------------------------------------------------


class Yielding(DescriptorStream):
    """With a turn of the scheduler in each call, which trio asks of streams and this one does without, for speed."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return await super().receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        await super().send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        await super().wait_send_all_might_not_block()


async def test_trios_own_checks() -> None:
    async def make() -> Pair:
        one, other = socket.socketpair()
        return Yielding.over_socket(one), Yielding.over_socket(other)

    await trio.testing.check_half_closeable_stream(make, None)


@pytest.mark.parametrize("kind", MAKERS)
async def test_who_has_hung_up(kind: str) -> None:
    """The end of what a socket sends counts; of two pipes, the one that is written to."""
    one, other = MAKERS[kind]()
    async with one:
        assert not one.hung_up()
        await other.send_eof()
        assert one.hung_up() == (kind == "sockets")
        await other.aclose()
        assert one.hung_up()
    assert one.hung_up()
