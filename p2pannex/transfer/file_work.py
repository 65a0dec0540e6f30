"""Disk work on a file that the user named: in a thread if it may take long, with errors that have that name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import trio

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

A = TypeVar("A")
R = TypeVar("R")


def named(error: OSError, path: bytes) -> OSError:
    """The same error, with the file name that the user gave."""
    return OSError(error.errno, error.strerror, os.fsdecode(path))


async def work(function: Callable[[A], R], argument: A, path: bytes, *, in_thread: bool = True) -> R:
    """Do disk work: in a thread with `in_thread`, otherwise directly, which is faster for small blocks."""
    try:
        if in_thread:
            return await trio.to_thread.run_sync(function, argument)
        await trio.lowlevel.checkpoint()
        return function(argument)
    except OSError as error:
        raise named(error, path) from error
