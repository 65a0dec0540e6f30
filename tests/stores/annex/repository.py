"""Repositories that git made, with the settings that make them git-annex's, and what lies in them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from p2pannex.keys.key import Key
from p2pannex.service import Lock
from p2pannex.stores.annex.store import AnnexStore
from tests.support.git import git

UUID = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
CONTENT = b"content"

KEY = Key(b"SHA256-s7--" + hashlib.sha256(CONTENT).hexdigest().encode())


def make(path: Path, *options: str, **settings: str) -> Path:
    """A repository of git, with the settings that make it one of git-annex. ``annex_version="8"`` is annex.version."""
    git(path.parent, "init", "-q", *options, path)
    values = {"annex.uuid": UUID, "annex.version": "10", "user.name": "me", "user.email": "me@localhost"}
    for name, value in {**values, **{name.replace("_", "."): value for name, value in settings.items()}}.items():
        git(path, "config", name, value)
    return path


def annex(repository: Path) -> Path:
    return (repository / ".git" if (repository / ".git").exists() else repository) / "annex"


def beside(store: AnnexStore, key: Key = KEY) -> set[str]:
    """What lies beside the object: the endings of the files' names."""
    directory = Path(os.fsdecode(store.layout.find(key))).parent
    if not directory.exists():
        return set()
    return {path.name.removeprefix(os.fsdecode(key.file_name)) for path in directory.iterdir()}


def mode(path: Path | bytes) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def locked(store: AnnexStore, key: Key = KEY) -> Lock:
    return await store.lock(key)
