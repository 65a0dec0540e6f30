"""Where the quickstart happens: its folder, the stores in it, and the files that are made for it."""

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

from p2pannex.keys.key import Key

if TYPE_CHECKING:
    from p2pannex.stores.directory import DirectoryStore


@contextmanager
def work_folder(directory: str | None) -> Iterator[str]:
    """The folder to work in: a temporary one where none is named."""
    if directory is not None:
        os.makedirs(directory, exist_ok=True)
        yield os.path.abspath(directory)
        return
    with tempfile.TemporaryDirectory(prefix="p2pannex-quickstart-") as folder:
        yield folder


def make_files(folder: str, lengths: Mapping[str, int]) -> list[str]:
    """Files whose bytes are made up, the same each time; where they are."""
    made = os.path.join(folder, "files")
    os.makedirs(made, exist_ok=True)
    paths = [os.path.join(made, name) for name in lengths]
    for path, (name, length) in zip(paths, lengths.items(), strict=True):
        with open(path, "wb") as file:
            file.write(random.Random(name).randbytes(length))  # noqa: S311 - no secret
    return paths


def open_store(folder: str, name: str) -> DirectoryStore:
    """The store of that name in the folder, made if it is not there."""
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
    """The program that serves: the one installed beside this one, or the same by its module's name."""
    program = shutil.which("p2pannex-shell", path=os.path.dirname(sys.executable))
    return [program] if program else [sys.executable, "-m", "p2pannex.cli.shell.main"]


def stored(outcome: object, key: Key) -> str:
    """In a word what came of an upload; WrongContent where nothing was stored."""
    from p2pannex.service import AlreadyHave, NotStored
    from p2pannex.transfer.transfer import WrongContent

    if isinstance(outcome, NotStored):
        raise WrongContent(f"{key} was not stored: its file changed while this ran; run it again")
    return "there already" if isinstance(outcome, AlreadyHave) else "stored"
