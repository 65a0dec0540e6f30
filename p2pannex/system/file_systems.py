"""What an fsync of a directory makes durable beside the names in it, which depends on the file system.

New content lies in a new directory in a new directory in a new directory. POSIX promises of an fsync of one of them
nothing about its own name in the one above. So all of them have to be fsynced, each of which sends the disk a flush:
100 microseconds where the disk is a fast one. Of two file systems more is known.

**ext4 with a journal, and xfs** make changes of metadata durable in the order in which they were made. mkdir(2) changes
the new directory itself, as well as the one above it, in one transaction. So whatever an fsync of a directory does, the
transaction that made it is durable afterwards; and so is every earlier one, such as those that made the directories
above it, ages ago or a moment ago, by us or by somebody who was killed before he could fsync anything. One fsync, of
the innermost, is all that is needed. They differ in how much they write:

- ext4 puts all metadata into one journal, whose transactions are committed one after the other and replayed in that
  order up to the last whole one [1]; an fsync of a directory commits what the journal has.
- xfs writes its log, whose checkpoints are in sequence and are replayed in sequence, up to the last change of the
  directory [2].

Their developers say so: "Is it possible that, after a crash, D has been replaced by C but B is still the original
file?" (of two renames in this order) "Not for XFS, ext4, btrfs or f2fs" [3]; "it is clear that ext4 also provides
[strictly ordered metadata consistency], because all metadata is journalled on a single linear transaction journal" [4].

**ext4 without a journal** has no order. But an fsync of what was newly created also writes the directory that it was
created in, and if that is new too, the one above it, and so on (`ext4_sync_parent`, since Linux 2.6.35) [5]. It goes by
a mark on what is new, which the first fsync takes away, before it has written. So this can be relied on for the
directories that the caller has made itself, while it keeps others of us away from them, and not for those it found.

Of btrfs, overlays and file systems over a network we rely on nothing but POSIX, as where Linux does not tell.

1. docs.kernel.org/filesystems/ext4/journal.html
2. docs.kernel.org/filesystems/xfs/xfs-delayed-logging-design.html
3. Dave Chinner, "metadata operation reordering regards to crash", linux-kernel, 14 September 2018
4. Amir Goldstein, "Documenting the crash-recovery guarantees of Linux file systems", linux-fsdevel, 12 March 2019
5. Linux commit 14ece1028b3e, "ext4: Make fsync sync new parent directories in no-journal mode"
"""

from __future__ import annotations

import os
from enum import Enum


class Reach(Enum):
    """What an fsync of a directory makes durable beside the names in it."""

    NOTHING = "nothing else"
    NEW_PARENTS = "its own name, and those of the directories above it, as far as they are new"
    EVERYTHING_EARLIER = "its own name, and every change of metadata that was made before"


class FileSystems:
    """What is known of file systems, looked up once for each in the directories `proc` and `sys`.

    A device's number may be another file system's one day; so the identifier that statvfs gives is asked for too.
    """

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self._sys = sys
        self._known: dict[tuple[int, int], Reach] = {}

    def reach(self, fd: int, root: bytes) -> Reach:
        """What an fsync of the open directory makes durable of what is between it and `root`, which is above it."""
        device = os.fstat(fd).st_dev
        if device != os.stat(root).st_dev:
            return Reach.NOTHING  # of what is on another file system
        identity = device, os.fstatvfs(fd).f_fsid
        known = self._known.get(identity)
        if known is None:
            known = self._known[identity] = self._look_up(device)
        return known

    def _look_up(self, device: int) -> Reach:
        try:
            with open(f"{self._proc}/self/mountinfo", "rb") as file:
                kind = type_of(device, file.read())
        except OSError:
            return Reach.NOTHING
        if kind == b"xfs":
            return Reach.EVERYTHING_EARLIER
        if kind == b"ext4":
            return Reach.EVERYTHING_EARLIER if self._has_journal(device) else Reach.NEW_PARENTS
        return Reach.NOTHING

    def _has_journal(self, device: int) -> bool:
        """Whether the kernel lists a journal in the ext4 file system of that device. One on a device of its own is
        listed by another name: then nothing is lost but time."""
        try:
            name = os.path.basename(os.readlink(f"{self._sys}/dev/block/{os.major(device)}:{os.minor(device)}"))
        except OSError:
            return False
        return os.path.exists(f"{self._proc}/fs/jbd2/{name}-8")


def type_of(device: int, mountinfo: bytes) -> bytes | None:
    """The type of the file system of that number, as the kernel lists it in mountinfo; None where it does not."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    kinds = set()
    for line in mountinfo.splitlines():
        place, separator, kind = line.partition(b" - ")  # which no path in the line can have: its spaces are escaped
        fields = place.split(b" ")
        if separator and len(fields) > 2 and fields[2] == number:
            kinds.add(kind.split(b" ")[0])
    return kinds.pop() if len(kinds) == 1 else None


SYSTEM = FileSystems()
"""What the system says of its own."""
