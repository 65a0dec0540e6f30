"""A stream over raw file descriptors: pipes and sockets alike.

trio's own streams give bytes objects; content needs three more things, which is why this exists: reading into a block
that is used again (`receive_into`), sending a file, or what arrives, without reading it (`send_file`, `splice_nowait`),
and pipes of a mebibyte instead of 64 KiB, so that a large transfer takes a sixteenth of the wake-ups.

What is cancelled has not happened: bytes that were read are always handed out, and a file's are counted once sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat

import trio

PIPE_SIZE = 1 << 20
F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)
SPLICE = getattr(os, "splice", None)
SPLICE_FLAGS = getattr(os, "SPLICE_F_NONBLOCK", 0) | getattr(os, "SPLICE_F_MOVE", 0)


def _prepare(fd: int) -> bool:
    """Make the descriptor non-blocking and, where it is a pipe, large. Returns whether it was blocking."""
    was_blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    if F_SETPIPE_SZ is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError):  # the user's share of pipe memory is spent: the default size works too
            fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE)
    return was_blocking


class DescriptorStream(trio.abc.HalfCloseableStream):
    """Bytes in from one descriptor and out to another, or the same one. It owns and closes both.

    With `keep_open` they stay open, and blocking again if they were: for standard input and output.
    """

    def __init__(self, read_fd: int, write_fd: int, *, keep_open: bool = False) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._keep_open = keep_open
        self._socket: socket.socket | None = None
        self._was_blocking = (_prepare(read_fd), _prepare(write_fd))

    @classmethod
    def over_socket(cls, sock: socket.socket) -> DescriptorStream:
        """A stream over a connected stream socket, which it owns from now on."""
        stream = cls(sock.fileno(), sock.fileno())
        stream._socket = sock
        return stream

    async def receive_into(self, view: memoryview) -> int:
        """Read at least one byte into `view`; the number of bytes, 0 at the end of the stream."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            fd = self._open(self._read_fd)
            try:
                count = os.readv(fd, [view])
            except BlockingIOError:
                await trio.lowlevel.wait_readable(fd)
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            return count

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte; empty at the end of the stream."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes is at least 1")
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            fd = self._open(self._read_fd)
            try:
                data = os.read(fd, 65536 if max_bytes is None else max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(fd)
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            return data

    def receive_nowait(self) -> bytes | None:
        """What has arrived, up to 64 KiB of it: empty at the end of the stream, None where nothing has."""
        try:
            return os.read(self._open(self._read_fd), 65536)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send what the far side takes without waiting; how many bytes."""
        try:
            return os.write(self._open(self._write_fd), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0
        while True:
            fd = self._open(self._write_fd)
            try:
                sent += os.write(fd, memoryview(data)[sent:] if sent else data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(fd)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if sent == len(data):
                return

    async def send_file(self, source: int, offset: int, count: int) -> int:
        """Send up to `count` bytes of the file `source` from `offset` on; how many, 0 where the file ends.

        The kernel moves them. What is not in the page cache is read from disk meanwhile: keep `count` to a mebibyte.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            fd = self._open(self._write_fd)
            try:
                sent = os.sendfile(fd, source, offset, count)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(fd)
                continue
            except (BrokenPipeError, ConnectionError) as error:
                raise trio.BrokenResourceError(str(error)) from error
            return sent

    def splice_nowait(self, target: object, count: int) -> int | None:
        """Move up to `count` bytes that have arrived here to another such stream, in the kernel; how many.

        0 where nothing can be moved now. None where the kernel cannot, or the stream has ended or is broken: reading
        and sending will find out. One of the two has to be a pipe.
        """
        if SPLICE is None or not isinstance(target, DescriptorStream):
            return None
        try:
            moved: int = SPLICE(self._open(self._read_fd), self._open(target._write_fd), count, flags=SPLICE_FLAGS)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        return moved or None

    async def wait_receive_might_not_block(self) -> None:
        """Wait until something has arrived, or the stream has ended."""
        await trio.lowlevel.wait_readable(self._open(self._read_fd))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.wait_writable(self._open(self._write_fd))

    async def send_eof(self) -> None:
        """Nothing more will be sent; receiving goes on."""
        await trio.lowlevel.checkpoint()
        self._open(self._read_fd)
        write_fd, self._write_fd = self._write_fd, -1
        if write_fd < 0:
            return
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        elif write_fd != self._read_fd:
            self._release(write_fd, self._was_blocking[1])

    def at_end(self) -> bool:
        """Whether the far side has closed, or sent something while nothing was asked of it, as far as is known now."""
        if self._read_fd < 0:
            return True
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        return bool(poll.poll(0))

    def _open(self, fd: int) -> int:
        if fd < 0:
            raise trio.ClosedResourceError("this stream is closed")
        return fd

    def _release(self, fd: int, was_blocking: bool) -> None:
        trio.lowlevel.notify_closing(fd)
        if self._keep_open:
            os.set_blocking(fd, was_blocking)
        else:
            os.close(fd)

    def close(self) -> None:
        """Close at once."""
        read_fd, write_fd = self._read_fd, self._write_fd
        self._read_fd = self._write_fd = -1
        if read_fd >= 0 and self._socket is not None:
            trio.lowlevel.notify_closing(read_fd)
            self._socket.close()
            return
        if read_fd >= 0:
            self._release(read_fd, self._was_blocking[0])
        if write_fd >= 0 and write_fd != read_fd:
            self._release(write_fd, self._was_blocking[1])

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()
