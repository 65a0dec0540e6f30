"""Which content a store on a file system holds, and how much that is. Every directory is read for it, and it blocks.

Objects lie three directories deep, in every layout: below two of hashes, and one that is named like the object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from attrs import frozen

from p2pannex.keys.key import InvalidKey, Key


@frozen
class Contents:
    """How much a store holds. Sizes are in bytes."""

    keys: int
    bytes: int
    partials: int
    partial_bytes: int


def objects(root: bytes) -> Iterator[tuple[Key, os.DirEntry[bytes]]]:
    """The keys below the directory of objects, in the order of their paths."""
    for upper in _entries(root):
        for lower in _entries(upper.path):
            for directory in _entries(lower.path):
                for entry in _entries(directory.path):
                    if entry.name == directory.name:
                        try:
                            yield Key.from_file_name(entry.name), entry
                        except InvalidKey:
                            continue


def count(root: bytes, partials: bytes) -> Contents:
    """Count the objects below `root`, and the files in `partials`. What goes away meanwhile is not counted."""
    present = [status for _, entry in objects(root) if (status := _size(entry)) is not None]
    partial = [status for entry in _entries(partials) if (status := _size(entry)) is not None]
    return Contents(len(present), sum(present), len(partial), sum(partial))


def _size(entry: os.DirEntry[bytes]) -> int | None:
    with suppress(FileNotFoundError):
        if entry.is_file(follow_symlinks=False):
            return entry.stat(follow_symlinks=False).st_size
    return None


def _entries(path: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
