"""Which objects a store vouches for, and how one object is verified at rest.

CHECKPRESENT, LOCKCONTENT, ALREADY-HAVE and VALID after GET vouch for content: a client may delete its own copy because
of them. Every object was verified when it was stored. The store vouches for an object without reading it only if it is
*protected*: a regular file of the key's size, read-only, with one link, and not suspect. Every other object is verified
anew first:

- **Writable, or with more than one link.** With annex.thin, an object is a hard link to a file in the work tree, which
  its owner may edit.
- **Suspect.** A client received the object and replied FAILURE, as git-annex does when the content does not match its
  key: the disk may have changed it. The mark is the object's sticky bit, which has no meaning on a file. So the mark
  costs a request no system call, every process sees it, and it lasts exactly as long as the object. Where the bit
  cannot be set (the file belongs to another user, or has more links), this process remembers the object.

If the content matches, the mark is removed. If it does not, the object is moved to ``annex/bad/``, as ``git annex
fsck`` does, and the location log is told. An object with more than one link stays, because its other name is a user's
file; it is not vouched for.

**Only one verification of an object at a time** runs, among all tasks and processes of a user: it holds flock(2) on the
object. All who may read the object can lock it so. So a verification waits for another user's for a minute, and runs
then (`_lock`).

**What is remembered.** A verdict on an object holds for its inode, size and times. It is remembered in this process if
the inode had not changed for `RACY` before the verification began: otherwise a change right after it could leave the
same times. A program that had mapped the file into memory before can still change it unnoticed until the kernel writes
the page to disk.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import TypeAlias

import trio
from attrs import frozen

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.files.cleanup import PendingCleanup
from p2pannex.stores.files.hashing import hash_in_steps
from p2pannex.stores.files.interfaces import Exclusive, Layout
from p2pannex.stores.files.lookup import is_whole, open_object
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import directory_durable
from p2pannex.system.file_locks import NoFileLocks, is_at, locked_by_this_user, try_lock
from p2pannex.system.fsync_batch import run_blocking

log = logging.getLogger(__name__)

RACY = 2_000_000_000
"""Nanoseconds. No file system's times are coarser."""

REMEMBERED = 1000
"""Objects whose verification this process remembers, at most: those that were verified last. To forget one is harmless:
it is verified again."""

SUSPECTS_MAX = 100_000
"""Suspect objects that this process remembers because it cannot mark their files. None is forgotten before it was
verified. With so many, another one is not remembered: the next client that receives it finds it wrong again."""

HASH_FIRST = 1 << 20
"""Bytes up to which an object is hashed before it is given out. A wrong one is then reported as absent, not as INVALID,
and a cluster gets the content from another node."""

ATTEMPTS = 3
"""How often an object that changes while it is hashed is hashed."""

SUSPECT = stat.S_ISVTX
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_UNPROTECTED = SUSPECT | _WRITABLE

Identity: TypeAlias = tuple[int, int, int, int, int]


class Finding(Enum):
    """What a verification found."""

    GOOD = "good"
    WRONG = "wrong"
    ABSENT = "absent"


@frozen
class Verified:
    """The outcome of a verification. `status` is the object's, after it was found good."""

    finding: Finding
    status: os.stat_result | None = None


ABSENT = Verified(Finding.ABSENT)
WRONG = Verified(Finding.WRONG)


def identity(status: os.stat_result) -> Identity:
    """What changes whenever the file is replaced or changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Vouching:
    """What one store vouches for. `changed` is called with False after an object was moved to ``annex/bad/``."""

    def __init__(
        self,
        layout: Layout,
        exclusion: Exclusive,
        disk_work: DiskWork,
        pending_cleanup: PendingCleanup,
        changed: Callable[[Key, bool], Awaitable[None]],
    ) -> None:
        self._layout = layout
        self._exclusion = exclusion
        self._disk_work = disk_work
        self._pending_cleanup = pending_cleanup
        self._changed = changed
        self._unprotected = _UNPROTECTED if layout.has_permissions else SUSPECT
        self._verdicts: OrderedDict[Identity, tuple[Key, bool]] = OrderedDict()
        self._suspects: set[tuple[int, int]] = set()

    # Without reading the object ---------------------------------------------------------------------------------

    def protected(self, status: os.stat_result) -> bool:
        """Whether other programs cannot have changed the object since it was verified. See above."""
        return (
            not status.st_mode & self._unprotected
            and status.st_nlink == 1
            and not (self._suspects and (status.st_dev, status.st_ino) in self._suspects)
        )

    def suspect(self, key: Key, status: os.stat_result) -> bool:
        """Whether the object, which is not protected, must be verified before it is given out.

        Otherwise it may be hashed while it is given out.
        """
        if status.st_size <= HASH_FIRST or not key.verifier().conclusive or self._is_marked(status):
            return True
        return self._verdicts.get(identity(status)) == (key, False)

    def same(self, before: os.stat_result, now: os.stat_result) -> bool:
        """Whether what was vouched for, with the status `before`, is still what it was."""
        return self.protected(now) or identity(before) == identity(now)

    def doubt(self, key: Key, fd: int) -> None:
        """Mark the open object as suspect: a client has received it and did not accept it."""
        if key.missing_hash is None and not key.verifier().conclusive:
            return  # nothing could tell whether the client was right
        status = os.fstat(fd)
        if status.st_nlink == 1:
            with suppress(OSError):
                os.fchmod(fd, stat.S_IMODE(status.st_mode) | SUSPECT)
                if os.fstat(fd).st_mode & SUSPECT:
                    return
        if status.st_nlink:
            self._verdicts.pop(identity(status), None)
            if len(self._suspects) < SUSPECTS_MAX:
                self._suspects.add((status.st_dev, status.st_ino))

    def remember(self, key: Key, status: os.stat_result, good: bool, began: int) -> None:
        """Remember the verdict on an object. `began`: the time of day, in nanoseconds, before it was read."""
        if max(status.st_ctime_ns, status.st_mtime_ns) + RACY < began:
            self._verdicts[identity(status)] = key, good
            if len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)

    # Reading it -------------------------------------------------------------------------------------------------

    async def vouched(self, key: Key, status: os.stat_result) -> os.stat_result | None:
        """The status of the object if it is vouched for, after it was verified if need be; otherwise None."""
        if self.protected(status):
            return status
        return (await self.verify(key, anew=False)).status

    async def verify(self, key: Key, *, anew: bool = True) -> Verified:
        """Verify the object of one key at rest. A wrong one is moved to ``annex/bad/``, unless it has more links.

        With `anew` it is read in any case; otherwise only if it is not protected and this process has not verified it.
        RemoteError if it cannot be verified here, cannot be read, or keeps changing.
        """
        with disk_errors("cannot verify the content"):
            fd = open_object(self._layout, key)
            if fd is None:
                return ABSENT
            try:
                await _lock(fd)
                return await self._verify(key, fd, anew)
            finally:
                os.close(fd)

    async def _verify(self, key: Key, fd: int, anew: bool) -> Verified:
        for _ in range(ATTEMPTS):
            began = time.time_ns()
            before = os.fstat(fd)
            if not before.st_nlink or not is_whole(key, before):
                return ABSENT
            known = self._verdicts.get(identity(before))
            if not anew and self.protected(before):
                return Verified(Finding.GOOD, before)  # another task or process has just verified it
            if not anew and known is not None and known[0] == key and not self._is_marked(before):
                return Verified(Finding.GOOD, before) if known[1] else WRONG
            good = await self._matches(key, fd, before)
            if identity(os.fstat(fd)) != identity(before):
                continue
            self.remember(key, before, good, began)
            if good:
                return Verified(Finding.GOOD, self._accept(fd, before))
            bad = await self._disk_work.run(self._quarantine, key, fd, before)
            log.warning(
                "the content of %s does not match it; %s", key, f"moved to {bad}" if bad else "it stays in place"
            )
            if bad:
                await self._changed(key, False)
            return WRONG
        raise RemoteError("cannot verify the content: another program changes it; try again later")

    def _is_marked(self, status: os.stat_result) -> bool:
        return bool(status.st_mode & SUSPECT) or (status.st_dev, status.st_ino) in self._suspects

    async def _matches(self, key: Key, fd: int, status: os.stat_result) -> bool:
        if (missing := key.missing_hash) is not None:
            raise RemoteError(missing)
        verifier = key.verifier()
        if verifier.conclusive:
            await hash_in_steps(fd, verifier, status.st_size)
            return verifier.valid()
        # No digest. A read-only file was not edited, and one that still has the time in its key (WORM) probably not.
        if status.st_mode & _WRITABLE and status.st_mtime_ns // 10**9 != key.mtime:
            raise RemoteError(
                f"cannot verify the content: it may have been edited, and {key.backend} keys do not contain its hash; "
                "run git annex lock there (annex.thin)"
            )
        return True

    def _accept(self, fd: int, status: os.stat_result) -> os.stat_result:
        """Remove the mark of an object that was found good. Returns its status then."""
        self._suspects.discard((status.st_dev, status.st_ino))
        mode = self._layout.verified_mode(stat.S_IMODE(status.st_mode) & ~SUSPECT)
        if status.st_nlink == 1 and mode != stat.S_IMODE(status.st_mode):
            with suppress(OSError):  # not ours, or a read-only file system: it is verified again the next time
                os.fchmod(fd, mode)
                return os.fstat(fd)
        return status

    def _quarantine(self, key: Key, fd: int, status: os.stat_result) -> str | None:
        """Move a wrong object out of the way, durably. Returns its new path; None if it is no longer there, or must or
        can not be moved."""
        with self._exclusion.hold(key):
            now = os.fstat(fd)
            path = next((path for path in self._layout.places(key) if is_at(status, path)), None)
            if path is None or now.st_nlink != 1 or identity(now) != identity(status):
                return None
            try:
                bad = self._layout.quarantine(key, path)
            except OSError:
                return None  # it keeps its mark
            self._suspects.discard((status.st_dev, status.st_ino))
            with suppress(OSError):
                os.fchmod(fd, stat.S_IMODE(now.st_mode) & ~SUSPECT)
            self._pending_cleanup.add(key, os.path.dirname(path))
            with suppress(OSError):  # if the move is lost in a power failure, the object is found wrong again
                run_blocking(directory_durable(os.path.dirname(bad)))
            return os.fsdecode(bad)


LONGEST_WAIT = 60.0
"""Seconds to wait for the end of a lock on the object that is not that of a verification by this user."""


async def _lock(fd: int) -> None:
    """Wait until no other verification of the file runs. Closing `fd` ends ours.

    The lock only saves work, and all who may read the object can take it. So the wait ends after `LONGEST_WAIT`, unless
    a process of this user has the lock: a long verification then goes on, and a second one would only slow it down.
    """
    pause = 0.01
    deadline = trio.current_time() + LONGEST_WAIT
    try:
        while not try_lock(fd):
            if trio.current_time() >= deadline and not locked_by_this_user(fd):
                return
            await trio.sleep(pause)
            pause = min(2 * pause, 0.5)
    except (OSError, NoFileLocks):
        pass  # a file system without flock: verifications may run at the same time, which only takes longer
