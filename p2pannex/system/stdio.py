"""Standard output of a program that serves on it."""

from __future__ import annotations

import os


def claim_output() -> int:
    """Standard output, which only what is written to this descriptor reaches from now on.

    A stray print must not end up among a client's content.
    """
    output = os.dup(1)
    os.dup2(2, 1)
    return output
