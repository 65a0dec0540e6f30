"""Standard output of a program that serves on it."""

from __future__ import annotations

import os


def claim_output() -> int:
    """Return a new descriptor of standard output, and point descriptor 1 to standard error.

    So what a stray ``print`` writes does not get among the bytes for the client.
    """
    output = os.dup(1)
    os.dup2(2, 1)
    return output
