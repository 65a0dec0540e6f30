"""Room on the disk for the rest of a file, taken before it is written.

The file keeps its size. Other processes see that the room is taken, because the file system counts it. Python has no
function for that: `os.posix_fallocate` makes the file longer.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

from p2pannex.system.unsupported import is_unsupported

_KEEP_SIZE = 1


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # large uploads need it; clients wait for imports

    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return None  # not Linux
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int

    def call(fd: int, mode: int, offset: int, length: int) -> int:
        return ctypes.get_errno() if function(fd, mode, offset, length) else 0

    return call


def allocate(fd: int, offset: int, length: int) -> bool:
    """Take the room for `length` bytes from `offset` on. False if the file system cannot do that. It blocks.

    OSError if the disk is full. `release` gives back what was not written.
    """
    fallocate = _fallocate()
    if fallocate is None or length <= 0:
        return False
    while (number := fallocate(fd, _KEEP_SIZE, offset, length)) == errno.EINTR:
        pass
    if number:
        error = OSError(number, os.strerror(number))
        if is_unsupported(error):
            return False
        raise error
    return True


def release(fd: int) -> None:
    """Give back the room beyond the end of the file."""
    os.ftruncate(fd, os.fstat(fd).st_size)
