"""The files that the configuration of a gateway repository is read from, and whether any of them has changed."""

from __future__ import annotations

import os

from p2pannex.errors import RemoteError
from p2pannex.gateways.repository.wanted import LOGS
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.cat_file import LogTooLarge
from p2pannex.git_annex.config import AnnexConfig, NotAnAnnex, read_annex_config
from p2pannex.git_annex.logs import names
from p2pannex.git_annex.logs.names import journal_name

READ = (names.PROXY_LOG, names.CLUSTER_LOG, *LOGS)
"""The logs that list the nodes and say what they want."""


async def read_logs(branch: Branch) -> tuple[dict[bytes, bytes], str]:
    """The texts of the logs in `READ`, and why one that only uploads need could not be read; then it counts as empty.

    RemoteError if another log cannot be read.
    """
    logs: dict[bytes, bytes] = {}
    unreadable = ""
    for name in READ:
        try:
            logs[name] = await branch.read(name)
        except LogTooLarge as error:
            if name not in LOGS:
                raise
            logs[name], unreadable = b"", str(error)
    return logs, unreadable


def reread(path: bytes) -> AnnexConfig:
    """Read the repository's git config again. It blocks. RemoteError if the config is invalid."""
    try:
        return read_annex_config(path)
    except NotAnAnnex as error:
        raise RemoteError(str(error)) from None


def stamp(config: AnnexConfig) -> tuple[object, ...]:
    """A value that changes whenever the git config or one of the logs changes."""
    journal = [
        os.path.join(b"annex", directory, journal_name(name))
        for directory in (b"journal", b"journal-private")
        for name in READ
    ]
    return tuple(
        _status(os.path.join(config.git_dir, path))
        for path in (b"config", b"packed-refs", os.path.join(b"refs", b"heads", b"git-annex"), *journal)
    )


def _status(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
