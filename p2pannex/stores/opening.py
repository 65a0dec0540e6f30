"""Opens the store in a directory of this machine: a directory store or a git-annex repository."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2pannex.url_syntax import KNOWN, InvalidURL

if TYPE_CHECKING:
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.system.disk_work import DiskWork


def open_directory(path: str, *, disk_work: DiskWork | None = None) -> DirectoryStore | AnnexStore:
    """Open the store in a directory of this machine. The caller must close it.

    `disk_work` says how the store waits for the disk; `InThreads` if None. RemoteError if the directory has no store,
    or one that cannot be used. InvalidURL if `path` looks like a URL, and there is no directory of that name.
    """
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    try:
        return DirectoryStore(path, disk_work=disk_work)
    except NotAStore:
        from p2pannex.git_annex.config import looks_like_git

        # A p2pannex.toml in a work tree does not count (`directory_config`).
        described = os.path.exists(os.path.join(path, "p2pannex.toml"))
        if looks_like_git(os.fsencode(path)) and (not described or os.path.lexists(os.path.join(path, ".git"))):
            from p2pannex.stores.annex.store import AnnexStore

            return AnnexStore(path, disk_work=disk_work)
        if ":" in path and not os.path.exists(path):
            raise InvalidURL(f"{path}: there is no such directory; write {KNOWN}") from None
        raise
