"""NOTIFYCHANGE: report changes of a git repository's refs as they happen (protocol-spec section 10.2).

inotify reports that something below the git directory has changed. Then git lists all refs, and the list is compared
with the previous one. So it does not matter how the refs are stored (files, packed-refs, reftable), or whether the
kernel drops or merges events. If inotify is missing, or its limit of watches is reached, the directories are polled
every two seconds instead.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import os
import struct
from collections.abc import AsyncGenerator, Iterator

import trio

from p2pannex.git_annex.git import Git

SETTLE = 0.05
"""Seconds from a change until git lists the refs. A push changes several refs, and one list then shows them all."""

INTERVAL = 2.0
"""Seconds between two polls, without inotify."""

_PLACES = (b"refs", b"reftable")
_FILES = (*_PLACES, b"packed-refs")

_EVENT = struct.Struct("iIII")
_CLOSE_WRITE, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x80, 0x100, 0x200
_OVERFLOW = 0x4000
_MASK = _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE


async def changes(git: Git) -> AsyncGenerator[tuple[str, ...], None]:
    """Yield the names of the objects that refs point to: first those of all refs, then those of refs that change.

    Each item has one name. RemoteError if the refs cannot be read. The caller must close the generator with ``aclose``.
    """
    known: dict[bytes, str] = {}
    watch = _watch(git.git_dir)
    try:
        while True:
            refs = await trio.to_thread.run_sync(_refs, git)
            changed = list(dict.fromkeys(name for ref, name in refs.items() if known.get(ref) != name))
            known = refs
            for name in changed:
                # One name at a time: git-annex's client fetches nothing if it has any one of the names of a message.
                yield (name,)
            try:
                await watch.wait()
            except OSError:  # a new directory cannot be watched; that it was made is a change as well
                watch.close()
                watch = _PollingWatch(git.git_dir)
            await trio.sleep(SETTLE)
    finally:
        watch.close()


def _refs(git: Git) -> dict[bytes, str]:
    lines = git.run("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    return {ref: name.decode() for name, _, ref in (line.partition(b" ") for line in lines)}


class _Watch(abc.ABC):
    """Waits for a change below a git directory. A change between two waits ends the next one immediately."""

    @abc.abstractmethod
    async def wait(self) -> None: ...

    def close(self) -> None:  # noqa: B027 - polling has nothing to close
        pass


def _watch(git_dir: bytes) -> _Watch:
    try:
        return _InotifyWatch(git_dir)
    except (OSError, AttributeError):
        return _PollingWatch(git_dir)


class _InotifyWatch(_Watch):
    """Waits by inotify. OSError if the kernel's limits are reached, AttributeError if the C library has no inotify."""

    def __init__(self, git_dir: bytes) -> None:
        self._git_dir = git_dir
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self._top = self._add(git_dir)
            self._add_directories()
        except BaseException:
            os.close(self._fd)
            raise

    def _add(self, directory: bytes) -> int:
        return _checked(self._libc.inotify_add_watch(self._fd, directory, _MASK))

    def _add_directories(self) -> None:
        """Watch all directories with refs.

        A directory is watched before it is listed, so that directories made in it later are reported. Watching a
        directory a second time changes nothing.
        """
        waiting = [os.path.join(self._git_dir, name) for name in _PLACES]
        while waiting:
            directory = waiting.pop()
            try:
                self._add(directory)
                with os.scandir(directory) as entries:
                    waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except (FileNotFoundError, NotADirectoryError):
                pass  # it does not exist, or was just removed

    async def wait(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            if any(self._concerns_refs(os.read(self._fd, 65536))):
                break
        self._add_directories()

    def _concerns_refs(self, events: bytes) -> Iterator[bool]:
        while events:
            watch, mask, _, length = _EVENT.unpack_from(events)
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            events = events[_EVENT.size + length :]
            if mask & _OVERFLOW or (mask & _MASK and not name.endswith(b".lock")):
                yield watch != self._top or name in _FILES

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._fd)
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class _PollingWatch(_Watch):
    """Waits by comparing the inodes and modification times of all directories and files."""

    def __init__(self, git_dir: bytes) -> None:
        self._git_dir = git_dir
        self._seen = self._look()

    async def wait(self) -> None:
        while True:
            now = await trio.to_thread.run_sync(self._look)
            if now != self._seen:
                break
            await trio.sleep(INTERVAL)
        self._seen = now

    def _look(self) -> dict[bytes, tuple[int, int]]:
        seen: dict[bytes, tuple[int, int]] = {}
        for name in _FILES:
            top = os.path.join(self._git_dir, name)
            for directory, _, files in os.walk(top):
                for path in (directory, *(os.path.join(directory, file) for file in files)):
                    _note(path, seen)
            _note(top, seen)
        return seen


def _note(path: bytes, seen: dict[bytes, tuple[int, int]]) -> None:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        seen[path] = (status.st_ino, status.st_mtime_ns)
