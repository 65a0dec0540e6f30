"""Opening the store in a directory of this machine, whichever kind it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from p2pannex.url_syntax import KNOWN, InvalidURL

if TYPE_CHECKING:
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore


def open_directory(path: str, *, one_of_several: bool = False) -> DirectoryStore | AnnexStore:
    """The store in a directory of this machine. RemoteError where there is none.

    `one_of_several` says that this process serves one client and no other, by several stores at the same time.
    """
    from p2pannex.stores.directory import DirectoryStore, NotAStore

    try:
        return DirectoryStore(path, single_client=one_of_several, one_of_several=one_of_several)
    except NotAStore:
        from p2pannex.git_annex.config import looks_like_git

        if not os.path.exists(os.path.join(path, "p2pannex.toml")) and looks_like_git(os.fsencode(path)):
            from p2pannex.stores.annex.store import AnnexStore

            return AnnexStore(path, single_client=one_of_several, one_of_several=one_of_several)
        if ":" in path and not os.path.exists(path):
            raise InvalidURL(f"{path}: there is no such directory; write {KNOWN}") from None
        raise
