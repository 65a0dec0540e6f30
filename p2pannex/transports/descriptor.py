"""A stream over raw file descriptors, for pipes and sockets.

It does three things that trio's own streams do not, to transfer content faster:

- It reads into a buffer that is used again (`receive_into`).
- It sends a file, or bytes that arrive, without reading them (`send_file`, `splice_nowait`).
- It sets pipes to 1 MiB instead of 64 KiB, so that a large transfer needs a sixteenth of the wake-ups.

A cancelled call has no effect: no bytes that were read are lost, and no bytes were sent that are not counted. The
exception is `send_all`, which may have sent a part.
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
    """Make the descriptor non-blocking and, if it is a pipe, large. Returns whether it was blocking before."""
    was_blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    if F_SETPIPE_SZ is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError):  # the user's limit of pipe memory is reached: the default size works too
            fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE)
    return was_blocking


class DescriptorStream(trio.abc.HalfCloseableStream):
    """Receives from one descriptor and sends to another, or to the same one. It owns both and closes them.

    With `keep_open`, for standard input and output, closing leaves them open, and blocking again if they were before.
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
        """Read at least one byte into `view`. Returns how many, 0 at the end of the stream."""
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
        """Up to 64 KiB that have arrived: empty at the end of the stream, None if nothing has arrived."""
        try:
            return os.read(self._open(self._read_fd), 65536)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much as possible without waiting. Returns how many bytes, possibly 0."""
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
        """Send up to `count` bytes of the file `source` from `offset` on. Returns how many, 0 at the end of the file.

        The kernel copies them, and reads those from the disk that are not in the page cache. This blocks all tasks, so
        `count` should be at most 1 MiB.
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
        """Move up to `count` bytes that have arrived here to another such stream, in the kernel. Returns how many.

        0 if nothing can be moved now. None if the kernel cannot do it, or if the stream has ended or is broken; reading
        and sending then tell which. At least one of the two streams must be a pipe.
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
        """Close the sending direction. Receiving is still possible."""
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
        """Whether, as far as is known now, bytes can be read, or the other side has closed.

        Between two requests, both mean that the connection cannot be used for another one.
        """
        if self._read_fd < 0:
            return True
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        return bool(poll.poll(0))

    def hung_up(self) -> bool:
        """Whether the other side receives no more, as far as is known now. Bytes may be left to read.

        Of two pipes only the one that we write to counts: a client may close the other one once it has sent all its
        requests, and wait for the replies. A socket does not tell a closed connection from a closed sending side, so
        there the end of what the other side sends counts.
        """
        if self._write_fd < 0:
            return self._read_fd < 0
        poll = select.poll()
        # POLLERR and POLLHUP are always reported.
        poll.register(self._write_fd, select.POLLRDHUP if self._write_fd == self._read_fd else 0)
        return any(event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

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
        """Close immediately."""
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
