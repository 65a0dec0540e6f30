"""What the quickstart works with: its folder, the stores in it, and the files that are made for it."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import uuid as uuid_module
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pannex.service import AlreadyHave, Stored
    from p2pannex.stores.directory import DirectoryStore


@contextmanager
def work_folder(directory: str | None) -> Iterator[str]:
    """The folder to work in: `directory` or, without one, a temporary folder that is deleted at the end."""
    if directory is not None:
        os.makedirs(directory, exist_ok=True)
        yield os.path.abspath(directory)
        return
    with tempfile.TemporaryDirectory(prefix="p2pannex-quickstart-") as folder:
        yield folder


def make_files(folder: str, lengths: Mapping[str, int]) -> list[str]:
    """Make files of pseudo-random bytes, the same ones in each run. `lengths` is in bytes. Returns their paths."""
    made = os.path.join(folder, "files")
    os.makedirs(made, exist_ok=True)
    paths = [os.path.join(made, name) for name in lengths]
    for path, (name, length) in zip(paths, lengths.items(), strict=True):
        with open(path, "wb") as file:
            file.write(random.Random(name).randbytes(length))  # noqa: S311 - not a secret
    return paths


def open_store(folder: str, name: str) -> DirectoryStore:
    """Open the store with this name in the folder. It is created if it does not exist."""
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    path = os.path.join(folder, name)
    try:
        return DirectoryStore(path)
    except NotAStore:
        return DirectoryStore.create(path)


def serving(store: DirectoryStore) -> list[str]:
    """The command that serves a store on its standard input and output."""
    return [*_shell(), "p2pstdio", os.fsdecode(store.path), str(uuid_module.uuid4()), "--uuid", store.uuid]


def _shell() -> list[str]:
    """The command that runs p2pannex-shell: the program that is installed beside Python or, without it, its module."""
    program = shutil.which("p2pannex-shell", path=os.path.dirname(sys.executable))
    return [program] if program else [sys.executable, "-m", "p2pannex.cli.shell.main"]


def stored(outcome: Stored | AlreadyHave) -> str:
    """The outcome of an upload as text for people."""
    from p2pannex.service import AlreadyHave

    return "there already" if isinstance(outcome, AlreadyHave) else "stored"
