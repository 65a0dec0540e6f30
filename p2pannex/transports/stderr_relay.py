"""Shows what a child process writes to standard error, without what could command the terminal.

ssh passes on what the server's programs write there, so a server could otherwise write escape sequences to the terminal
of its client. The child gets a pipe, and a thread copies from the pipe to our standard error: at once, not line by
line, because the user may have to act on a line that is not complete.
"""

from __future__ import annotations

import codecs
import os
import select
import threading

import trio

from p2pannex.terminal import safe_lines

READ = 16 * 1024
DRAIN = 0.2
"""Seconds to wait, after the child has exited, for the thread to show the rest."""


class StderrRelay:
    """The pipe and the thread of one child, which is started within the ``with`` block with `child_end` as its
    standard error. If the block raises, there is no child, and nothing is shown."""

    def __init__(self) -> None:
        self._read, self.child_end = os.pipe()
        self._showing = False
        self._thread = threading.Thread(target=self._relay, name="stderr", daemon=True)

    def __enter__(self) -> StderrRelay:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self.child_end)
        if kind is None:
            self._thread.start()
        else:
            os.close(self._read)

    async def drain(self) -> None:
        """Wait until everything that has arrived was shown: at most `DRAIN` seconds.

        The thread may live on: another process, such as ssh's ControlMaster, can keep the pipe open.
        """
        with trio.move_on_after(DRAIN):
            while self._thread.is_alive() and (self._showing or self._has_more()):  # noqa: ASYNC110 - a thread, and a pipe that others may hold
                await trio.sleep(0.002)

    def _has_more(self) -> bool:
        """Whether there is something to read, or the end, which the thread has not seen yet."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        return bool(poll.poll(0))

    def _relay(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        try:
            while data := os.read(self._read, READ):
                self._showing = True
                show(decode(data))
                self._showing = False
        except OSError:
            pass  # our standard error is closed: the child gets SIGPIPE
        finally:
            os.close(self._read)


def show(text: str) -> None:
    """Write text from elsewhere to standard error, with its line breaks. OSError if it is closed."""
    data = safe_lines(text.replace("\r\n", "\n")).encode("utf-8", "replace")
    while data:
        data = data[os.write(2, data) :]


__all__ = ["StderrRelay", "show"]
