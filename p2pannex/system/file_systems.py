"""What an fsync of a directory makes durable besides the names in it. This depends on the file system.

New content may need three new directories, one inside the other. POSIX says that an fsync of a directory makes the
names in it durable, but not the directory's own name in its parent. So in general every directory on the path has to be
fsynced. Each fsync flushes the disk, which takes 100 microseconds even on a fast one. Two file systems guarantee more,
so that some of these fsyncs can be left out.

**ext4 with a journal, and xfs.** One fsync, of the innermost directory, is enough:

1. Both make metadata changes durable in the order in which they were made.
2. mkdir(2) changes the new directory and its parent in one transaction.
3. An fsync of a directory makes all earlier changes of that directory durable. By 2, these include the transaction that
   made it, and with it the directory's name in its parent.
4. By 1, every earlier transaction is durable too, such as those that made the directories above. It does not matter how
   long ago that was, or whether the process that made them was killed before it could fsync.

The two file systems differ in how much such an fsync writes:

- ext4 has one journal for all metadata. It commits transactions one after the other, and replays them in that order up
  to the last complete one [1]. An fsync of a directory commits what the journal has.
- xfs writes its log up to the last change of the directory. The log's checkpoints are in sequence, and are replayed in
  sequence [2].

Their developers confirm step 1: "Is it possible that, after a crash, D has been replaced by C but B is still the
original file?" (of two renames in this order) "Not for XFS, ext4, btrfs or f2fs" [3]; "it is clear that ext4 also
provides [strictly ordered metadata consistency], because all metadata is journalled on a single linear transaction
journal" [4].

**ext4 without a journal** does not keep the order. But an fsync of a new file or directory also writes its parent, and
if that is new too, the parent's parent, and so on (`ext4_sync_parent`, since Linux 2.6.35) [5]. The kernel marks new
ones, and the first fsync removes the mark before it has written. So this is certain only for directories that the
caller has made itself, and only if the caller keeps other tasks and processes of p2pannex from fsyncing them meanwhile.
It does not hold for directories that the caller found.

**All others.** On btrfs, overlays and network file systems, or if Linux does not report the type, only what POSIX says
is relied on.

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
    """What an fsync of a directory makes durable besides the names in it."""

    NOTHING = "nothing else"
    NEW_PARENTS = "its own name if it is new, and the names of those directories above it that are new"
    EVERYTHING_EARLIER = "its own name, and every metadata change that was made before"


class FileSystems:
    """The `Reach` of each file system, looked up once for each in the directories `proc` and `sys`.

    A device number may be given to another file system later. So a file system is identified by the number that statvfs
    reports as well.
    """

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self._sys = sys
        self._known: dict[tuple[int, int], Reach] = {}

    def reach(self, fd: int, root: bytes) -> Reach:
        """What an fsync of the open directory makes durable of the directories between it and `root`, its ancestor."""
        device = os.fstat(fd).st_dev
        if device != os.stat(root).st_dev:
            return Reach.NOTHING  # the directories in between are partly on another file system
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
        """Whether the kernel lists a journal in the ext4 file system of that device.

        A journal on a device of its own has another name in the list, and is not found. That only costs time: more
        fsyncs are made than necessary.
        """
        try:
            name = os.path.basename(os.readlink(f"{self._sys}/dev/block/{os.major(device)}:{os.minor(device)}"))
        except OSError:
            return False
        return os.path.exists(f"{self._proc}/fs/jbd2/{name}-8")


def type_of(device: int, mountinfo: bytes) -> bytes | None:
    """The file system type of a device, from the text of /proc/self/mountinfo; None if missing or ambiguous."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    kinds = set()
    for line in mountinfo.splitlines():
        place, separator, kind = line.partition(b" - ")  # no path in the line contains it: their spaces are escaped
        fields = place.split(b" ")
        if separator and len(fields) > 2 and fields[2] == number:
            kinds.add(kind.split(b" ")[0])
    return kinds.pop() if len(kinds) == 1 else None


SYSTEM = FileSystems()
"""The file systems of this machine."""
