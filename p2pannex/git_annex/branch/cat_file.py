"""Reading the branch, with a ``git cat-file --batch`` that keeps running: to start one takes longer than a request.

Git sends the size of an object before its bytes. If it is larger than allowed, the process is killed before it sends
more: a log of gigabytes takes kilobytes in a pack that a user pushes.

Each read finds out which commit the branch points to now, so no reply is stale. That commit is read from the ref's own
file. If there is no such file (the ref is packed, or in a reftable), the same request asks git for it as well; if the
branch turns out to have moved, the rest of the reply is not used.

The entries of the commit's top directory are kept here, and git is asked for a path below one of them. That is faster:
a branch of many logs has 4096 entries there, and git would unpack them again for each request, which takes longer than
everything else.

If the caller knows early which log it will read, it calls `prefetch`. Git then reads the log while the caller does
something else.

A process that has died is replaced, once for each read. A process is killed if its reply was not read to the end.

The exchange with git is a generator that yields when it has to wait. So threads and tasks can wait in different ways.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Generator
from contextlib import closing

from p2pannex.errors import RemoteError
from p2pannex.git_annex.config import LOG_MAX
from p2pannex.git_annex.git import Git

REF = b"refs/heads/git-annex"

CAT_FILE_TIMEOUT = 60.0
"""Seconds that git may take to reply. Most replies take microseconds."""

BLOCKING_WAIT_MS = 1
"""Milliseconds that a task blocks the loop for a reply. A switch to other tasks takes as long as most replies."""

READ_ATTEMPTS = 100
"""Attempts to read a reply before waiting for it: most replies come sooner than a sleeping process is woken. After each
attempt the processor is yielded to other processes, such as git."""

MAX_PATH = 4000
"""Bytes of the longest path. git-annex could not write a longer one, and a request must fit into an empty pipe."""


TREE_MAX = 16 << 20
"""Bytes of the largest commit and top directory that are read. A branch of any number of logs has a top directory of
about 130 kB."""


GitObject = tuple[bytes, bytes, bytes]
"""An object's name, type and content. All three are empty if there is no such object."""

MISSING = (b"", b"", b"")


class _Ended(Exception):
    """The process has ended without a reply."""


class _NotRead(_Ended):
    """A reply that is not the one that was asked for now is too large to be read. A new process can be asked again."""


class LogTooLarge(RemoteError):
    """A log of the branch is larger than this repository reads."""

    def __init__(self, path: bytes, size: int, limit: int) -> None:
        name = path.decode("utf-8", "replace")
        super().__init__(
            f"{name} in the git-annex branch has {size} bytes, more than {limit}; "
            "make it shorter, or raise p2pannex.maxLogSize in the git config"
        )


class CatFile:
    """One process, for one request at a time: the caller must exclude concurrent calls.

    `log_max` is how many bytes a log may have. Reading a larger one raises LogTooLarge.
    """

    def __init__(self, git: Git, *, timeout: float = CAT_FILE_TIMEOUT, log_max: int = LOG_MAX) -> None:
        self._git = git
        self._log_max = log_max
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._reply_fd = -1
        self._request_fd = -1
        self._received = bytearray()
        self._ref_file = os.path.join(git.git_dir, REF)
        self._commit = b""
        self._top: dict[bytes, bytes] = {}  # entries of that commit's top directory: the object of each name
        self._expected: bytes | None = None  # the path at that commit that was requested, and whose reply is not read

    def prefetch(self, path: bytes) -> None:
        """Ask git for the log at `path`, because it will probably be read next. It does not block.

        It does nothing if the process is not running, another prefetch is pending, or the top directory has no entry
        for the path.
        """
        if self._process is None or self._expected is not None or not _valid_path(path):
            return
        name, _, rest = path.partition(b"/")
        directory = self._top.get(name)
        if directory is None:
            return
        try:
            self._put([_below(directory, rest)])
        except (OSError, RemoteError):  # the process has ended; the next read starts another
            self.close()
        else:
            self._expected = path

    def read(self, path: bytes) -> bytes:
        """The log at `path` on the branch; empty if there is none. It blocks. RemoteError if git does not reply."""
        deadline = time.monotonic() + self._timeout
        text = bytearray()
        with closing(self._exchange(path, text)) as exchange:
            for fd in exchange:
                if not _readable(fd, max(0.0, deadline - time.monotonic()) * 1000):
                    raise RemoteError(f"git cat-file did not reply within {self._timeout:g} seconds")
        return bytes(text)

    async def read_in_trio(self, path: bytes) -> bytes:
        """The same for a task. If it is cancelled while it waits, the next read has to start a new process."""
        import trio

        await trio.lowlevel.checkpoint_if_cancelled()
        deadline = trio.current_time() + self._timeout
        text = bytearray()
        try:
            with closing(self._exchange(path, text)) as exchange:
                for fd in exchange:
                    if not _readable(fd, BLOCKING_WAIT_MS):
                        with trio.fail_at(deadline):
                            await trio.lowlevel.wait_readable(fd)
        except trio.TooSlowError as error:
            raise RemoteError(f"git cat-file did not reply within {self._timeout:g} seconds") from error
        return bytes(text)

    def close(self) -> None:
        """End the process. The next read starts another."""
        process, self._process = self._process, None
        self._expected = None
        if process is None:
            return
        self._received.clear()
        os.close(self._request_fd)
        os.close(self._reply_fd)
        process.kill()  # it only reads, so nothing is lost
        process.wait()

    def _exchange(self, path: bytes, text: bytearray) -> Generator[int, None, None]:
        """Append the log at `path` to `text`. Yields the descriptor to wait for, whenever there is nothing to read."""
        if not _valid_path(path):
            return
        completed = False
        try:
            fresh = self._process is None
            try:
                text += yield from self._look_up(path)
            except (_Ended, BrokenPipeError) as error:
                self.close()
                if fresh and not isinstance(error, _NotRead):
                    raise RemoteError("git cat-file exited without a reply; try: git fsck") from error
                try:
                    text += yield from self._look_up(path)
                except (_Ended, BrokenPipeError) as again:
                    raise RemoteError("git cat-file exited without a reply; try: git fsck") from again
            completed = True
        finally:
            if not completed:
                self.close()

    def _look_up(self, path: bytes) -> Generator[int, None, bytes]:
        """The log at `path` on the branch; empty if there is none.

        1. If a prefetch of this path is pending, and the ref's file still has the same commit, its reply is the result.
        2. If the ref's file has the commit whose top directory is kept here, one request reads the log.
        3. Otherwise, the request also reads the ref. If that has a new commit, two more requests read the commit's top
           directory, and the log from it.
        """
        if self._process is None:
            self._start()
        if self._expected is not None:
            expected, self._expected = self._expected, None
            try:
                found = yield from self._read_reply(expected)
            except LogTooLarge:
                if expected == path:
                    raise
                raise _NotRead from None
            if expected == path and self._loose_ref() == self._commit:
                return found[2] if found[1] == b"blob" else b""
        name, _, rest = path.partition(b"/")
        directory = self._top.get(name)
        if self._commit and self._loose_ref() == self._commit:
            if directory is None:
                return b""
            found = yield from self._get_log(directory, path)
            return found[2] if found[1] == b"blob" else b""
        self._put([REF] if directory is None else [REF, _below(directory, rest)])
        head = yield from self._read_reply()
        found = MISSING
        if directory is not None:
            try:
                found = yield from self._read_reply(path)
            except LogTooLarge:
                if head[0] == self._commit:
                    raise
                self._commit, self._top = b"", {}  # it is the log of an earlier commit
                raise _NotRead from None
        commit, kind, text = head
        if kind != b"commit":
            return b""
        if commit != self._commit:
            yield from self._read_top(commit, text)
            directory = self._top.get(name)
            if directory is None:
                return b""
            found = yield from self._get_log(directory, path)
        return found[2] if found[1] == b"blob" else b""

    def _loose_ref(self) -> bytes | None:
        """The commit in the ref's own file, which takes precedence over packed refs; None if there is no such file."""
        try:
            fd = os.open(self._ref_file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(fd, 100).strip()
        except OSError:
            return None
        finally:
            os.close(fd)

    def _read_top(self, commit: bytes, text: bytes) -> Generator[int, None, None]:
        tree = text[: text.index(b"\n")].removeprefix(b"tree ")
        self._put([tree])
        _, kind, entries = yield from self._read_reply()
        if kind != b"tree":
            raise RemoteError("the git-annex branch is damaged: its tree is missing")
        size = len(tree) // 2
        top: dict[bytes, bytes] = {}
        position = 0
        while position < len(entries):
            end = entries.index(b"\0", position)
            top[entries[entries.index(b" ", position) + 1 : end]] = entries[end + 1 : end + 1 + size].hex().encode()
            position = end + 1 + size
        self._commit, self._top = commit, top

    def _put(self, objects: list[bytes]) -> None:
        request = b"".join([name + b"\n" for name in objects])
        if os.write(self._request_fd, request) != len(request):
            raise RemoteError("git cat-file does not read its input")

    def _get_log(self, directory: bytes, path: bytes) -> Generator[int, None, GitObject]:
        self._put([_below(directory, path.partition(b"/")[2])])
        return (yield from self._read_reply(path))

    def _read_reply(self, log: bytes | None = None) -> Generator[int, None, GitObject]:
        """The object that git sends next: the log at the path `log`, or a commit or tree."""
        received = self._received
        while (end := received.find(b"\n")) < 0:
            received += yield from self._receive()
        header = bytes(received[:end])
        if header.endswith(b" missing"):
            del received[: end + 1]
            return MISSING
        words = header.split(b" ")
        if len(words) != 3 or not words[2].isdigit():
            raise RemoteError(f"git cat-file sent an unexpected reply: {header[:100]!r}")
        size = int(words[2])
        if size > (TREE_MAX if log is None else self._log_max):
            if log is not None:
                raise LogTooLarge(log, size, self._log_max)
            raise RemoteError(f"the git-annex branch is damaged: a {words[1].decode()} of it has {size} bytes")
        start = end + 1
        stop = start + size
        while len(received) <= stop:
            received += yield from self._receive()
        content = bytes(received[start:stop])
        del received[: stop + 1]
        return words[0], words[1], content

    def _receive(self) -> Generator[int, None, bytes]:
        attempts = 0
        while True:
            try:
                data = os.read(self._reply_fd, 1 << 16)
            except BlockingIOError:
                attempts += 1
                if attempts < READ_ATTEMPTS:
                    os.sched_yield()
                else:
                    yield self._reply_fd
                continue
            if not data:
                raise _Ended
            return data

    def _start(self) -> None:
        request_for_git, self._request_fd = os.pipe2(os.O_CLOEXEC)
        self._reply_fd, reply_of_git = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self._reply_fd, False)
            os.set_blocking(self._request_fd, False)
            self._process = subprocess.Popen(
                self._git.argv("-c", f"core.bigFileThreshold={self._log_max}", "cat-file", "--batch"),
                stdin=request_for_git,
                stdout=reply_of_git,
                stderr=subprocess.DEVNULL,
                cwd=self._git.git_dir,
                env=self._git.environment(),
            )
        except OSError as error:
            os.close(self._request_fd)
            os.close(self._reply_fd)
            raise RemoteError(f"cannot run git: {error.strerror}") from error
        finally:
            os.close(request_for_git)
            os.close(reply_of_git)


def _readable(descriptor: int, milliseconds: float) -> bool:
    """Whether the descriptor becomes readable within so many milliseconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _valid_path(path: bytes) -> bool:
    """Whether a log can have that path."""
    return b"\n" not in path and len(path) <= MAX_PATH


def _below(directory: bytes, path: bytes) -> bytes:
    return b"%b:%b" % (directory, path) if path else directory
