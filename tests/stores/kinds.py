"""The kinds of store on a disk, for tests that hold for each of them."""

from __future__ import annotations

import os
from pathlib import Path

from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.opening import open_directory
from tests.stores.annex.repository import make

KINDS = ["directory", "repository", "bare repository"]


def make_store(kind: str, path: Path) -> None:
    """Make an empty store that `open_directory` opens. The repositories are made with git alone."""
    if kind == "directory":
        DirectoryStore.create(path, disk_reserve=0)
    else:
        make(path, *(["--bare"] if kind == "bare repository" else []), annex_diskreserve="0")


def annex_directory(path: Path) -> Path:
    """The directory ``annex`` of the store, which has the objects and partials."""
    return Path(os.fsdecode(open_directory(str(path)).layout.root)).parent


def records_directory(path: Path) -> Path:
    """The directory of the retention records."""
    store = open_directory(str(path))
    own = annex_directory(path)
    return (own / "p2pannex" if isinstance(store, AnnexStore) else own) / "retention"
