"""What to do where a file system does not support a system call.

CIFS, FAT, NFS and FUSE file systems lack some of what a local Linux file system has. They report it with one of the
errors in `UNSUPPORTED`. None of these errors says anything about the content, so nothing that was verified is ever
deleted because of one. There is a fallback for each call:

==========================  ==========================================================================================
Call                        Fallback, and what is weaker
==========================  ==========================================================================================
fsync of a directory        None is made. After a power failure the name of content that was just stored may be missing,
                            unless the file system makes names durable by itself, as network file systems do.
rename to another file      The content is copied to a new file there, fsynced, and renamed within that file system.
system (EXDEV)
chmod                       The permissions stay as they are: nothing protects objects from an accidental change.
link (for a new name)       rename, after a look whether the name is free: two programs might take it at the same time.
==========================  ==========================================================================================

File locks have no such fallback, because content could be lost without them: see `file_locks`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

UNSUPPORTED = frozenset(
    (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.ENOLCK)
)
"""Errors that mean: this file system does not support the call. EPERM is one for chmod and link only."""

COPY_BLOCK = 1 << 20


def is_unsupported(error: OSError) -> bool:
    """Whether the error says that the file system does not support the call."""
    return error.errno in UNSUPPORTED


def chmod(target: int | bytes, mode: int) -> None:
    """Set the permissions of a file or descriptor, if the file system has permissions and the file is ours."""
    try:
        os.chmod(target, mode)
    except OSError as error:
        if not is_unsupported(error):
            raise


def rename(source: bytes, target: bytes, temporary: bytes) -> None:
    """Rename a file, also to another file system.

    There it is copied to `temporary`, a path on the target's file system, made durable, and renamed. The caller keeps
    others from using that path. A crash leaves the source whole.
    """
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    copy_durably(source, temporary)
    try:
        os.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    with suppress(FileNotFoundError):  # another program has removed it during the copy
        os.unlink(source)


def copy_durably(source: bytes, target: bytes) -> None:
    """Copy a file, with its permissions, to a new file, and fsync that. An OSError leaves no new file."""
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with suppress(FileNotFoundError):
            os.unlink(target)  # a killed process left it
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while block := os.read(source_fd, COPY_BLOCK):
                view = memoryview(block)
                while view:
                    view = view[os.write(fd, view) :]
            chmod(fd, stat.S_IMODE(os.fstat(source_fd).st_mode))
            os.fsync(fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(target)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(source_fd)
