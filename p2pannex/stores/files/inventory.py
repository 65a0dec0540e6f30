"""Lists and counts the content of a store on a file system. The functions read every directory, and block.

In every layout, objects are three directories deep: below two hash directories and one with the name of the object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from attrs import frozen

from p2pannex.keys.key import InvalidKey, Key


@frozen
class Contents:
    """How much content a store has: numbers of complete keys and of partials, and their total sizes in bytes."""

    keys: int
    bytes: int
    partials: int
    partial_bytes: int


def objects(root: bytes) -> Iterator[tuple[Key, os.DirEntry[bytes]]]:
    """The keys whose objects are below `root`, and their files, in the order of their paths."""
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
    """Count the objects below `root` and the files in `partials`. Files that are removed meanwhile do not count, and
    partials that this user may not see."""
    partial: list[int] = []
    present = [size for _, entry in objects(root) if (size := _size(entry)) is not None]
    with suppress(PermissionError):  # only those who may write to a store can read the partials
        partial = [size for entry in _entries(partials) if (size := _size(entry)) is not None]
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
