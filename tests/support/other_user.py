"""Another user of the machine, for tests that run as root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER = 65534
AS_OTHER = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as another user")


@contextmanager
def reachable() -> Iterator[Path]:
    """A new directory that other users can read; those of pytest they cannot."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


_HOLD = """
import fcntl, os, sys
held = []
for path in sys.argv[1:]:
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            held.append(path)
            break
        except OSError:
            pass
print(len(held), flush=True)
sys.stdin.read()
"""


@contextmanager
def locking(*paths: str | os.PathLike[str]) -> Iterator[int]:
    """Another user locks all files that it can open, as far as that needs no permission to write. Yields how many."""
    command = [*AS_OTHER, sys.executable, "-c", _HOLD, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()
