"""The open file descriptors of a process."""

import os


def open_descriptors(pid: int | None = None) -> set[str]:
    """Those of this process, or of another."""
    return set(os.listdir(f"/proc/{pid or 'self'}/fd"))


def count_descriptors(pid: int | None = None) -> int:
    return len(open_descriptors(pid))
