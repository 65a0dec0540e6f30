"""The client of the benchmarks: it blocks, uses raw pipes, and does nothing that would add time of its own.

Both servers are measured with it, in turn, in the same run. It is no model for a real client: its only deadline is for
the server's exit, and it checks only the start of each reply.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Sequence

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key

BLOCK = 1 << 20


class RawClient:
    """A server as a child process, and its pipes. `start` is how many seconds it took until AUTH-SUCCESS."""

    def __init__(self, argv: Sequence[str], env: dict[str, str]) -> None:
        started = time.perf_counter()
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        for fd in (self._in, self._out):
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, BLOCK)
        self._buffer = b""
        self._block = bytearray(BLOCK)
        self._expect(b"AUTH-SUCCESS ")
        self.start = time.perf_counter() - started
        self._send(b"VERSION 4\n")
        self._expect(b"VERSION 4")

    def _send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._in, data) :]

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = os.read(self._out, 65536)
            if not data:
                raise ConnectionLost("the measured server closed the connection")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _expect(self, start: bytes) -> bytes:
        line = self._line()
        if not line.startswith(start):
            raise ConnectionLost(f"the measured server sent {line!r}, not {start!r}")
        return line

    def check_present(self, key: Key) -> None:
        self._send(b"CHECKPRESENT " + key.raw + b"\n")
        self._expect(b"SUCCESS")

    def put(self, key: Key, content: memoryview, repeat: int = 1) -> None:
        """Store `content`, `repeat` times over."""
        self._send(b"PUT  " + key.raw + b"\n")
        self._expect(b"PUT-FROM 0")
        length = len(content) * repeat
        if length <= BLOCK:
            self._send(b"DATA %d\n%sVALID\n" % (length, content))
        else:
            self._send(b"DATA %d\n" % length)
            for _ in range(repeat):
                view = content
                while view:
                    view = view[os.write(self._in, view) :]
            self._send(b"VALID\n")
        self._expect(b"SUCCESS")

    def get(self, key: Key) -> int:
        """Fetch the content and discard it. Returns its length."""
        self._send(b"GET 0  " + key.raw + b"\n")
        length = int(self._expect(b"DATA ")[5:])
        left = length - len(self._buffer[:length])
        self._buffer = self._buffer[length:]
        view = memoryview(self._block)
        while left:
            count = os.readv(self._out, [view[: min(left, BLOCK)]])
            if not count:
                raise ConnectionLost("the measured server closed the connection")
            left -= count
        self._expect(b"VALID")
        self._send(b"SUCCESS\n")
        return length

    def remove(self, key: Key) -> None:
        self._send(b"REMOVE " + key.raw + b"\n")
        self._expect(b"SUCCESS")

    def peak_memory(self) -> int:
        """The peak resident memory of the server's process so far, in bytes."""
        with open(f"/proc/{self._child.pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
