"""Opening the store in a directory of this machine, whichever kind it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2pannex.url_syntax import KNOWN, InvalidURL

if TYPE_CHECKING:
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.system.disk_work import DiskWork


def open_directory(path: str, *, disk_work: DiskWork | None = None) -> DirectoryStore | AnnexStore:
    """The store in a directory of this machine. RemoteError where there is none.

    `disk_work` says how the store waits for the disk; `InThreads` if None.
    """
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    try:
        return DirectoryStore(path, disk_work=disk_work)
    except NotAStore:
        from p2pannex.git_annex.config import looks_like_git

        if not os.path.exists(os.path.join(path, "p2pannex.toml")) and looks_like_git(os.fsencode(path)):
            from p2pannex.stores.annex.store import AnnexStore

            return AnnexStore(path, disk_work=disk_work)
        if ":" in path and not os.path.exists(path):
            raise InvalidURL(f"{path}: there is no such directory; write {KNOWN}") from None
        raise
