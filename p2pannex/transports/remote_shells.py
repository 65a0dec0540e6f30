"""Which program serves on a server that is reached through ssh: p2pannex-shell, or only git-annex-shell.

A client cannot know. It runs p2pannex-shell and, if that does not serve, git-annex-shell (see `p2pannex.p2p.dial`).
That takes a second connection, so `RemoteShells` remembers the accounts where git-annex-shell had to serve, and the
client runs it first there. What is remembered only decides the order, so a wrong or lost entry costs one connection.

The entries are in ``$XDG_CACHE_HOME/p2pannex/remote-shells.json`` (by default in ``~/.cache``). If that file cannot be
written, they are remembered by this process only.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time

SHELLS = ("p2pannex-shell", "git-annex-shell")
"""The programs, in the order in which they are tried on a server about which nothing is remembered."""

ENTRIES = 500
"""How many accounts are remembered. The oldest entries are dropped, which costs the next connection a round trip."""

LIFETIME = 30 * 24 * 3600
"""Seconds until p2pannex-shell is tried first again: it may have been installed since."""

_MAX_FILE = 1 << 20


class RemoteShells:
    """Remembers, in the file `path`, the accounts where git-annex-shell has to serve. It never raises OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, float] = {}
        """What this process found out: the time, in POSIX seconds, if an account needs git-annex-shell; otherwise 0."""

    def order(self, account: str) -> tuple[str, ...]:
        """The programs in the order in which to try them on `account`, which is ``[USER@]HOST[:PORT]``."""
        since = {**self._read(), **self._known}.get(account)
        if since is not None and 0 <= time.time() - since < LIFETIME:
            return SHELLS[::-1]
        return SHELLS

    def remember(self, account: str, program: str) -> None:
        """Remember that `program` serves on `account`. Writes the file only if that is not what `order` says."""
        if self.order(account)[0] == program:
            return
        self._known[account] = 0.0 if program == SHELLS[0] else time.time()
        entries = sorted({**self._read(), **self._known}.items(), key=lambda entry: entry[1])
        self._write({account: since for account, since in entries[-ENTRIES:] if since})

    def _read(self) -> dict[str, float]:
        try:
            with open(self._path, "rb") as file:
                entries = json.loads(file.read(_MAX_FILE))
            return {str(account): float(since) for account, since in entries.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}  # there is none, or it is damaged: the next write replaces it

    def _write(self, entries: dict[str, float]) -> None:
        directory = os.path.dirname(self._path)
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            fd, temporary = tempfile.mkstemp(dir=directory)
            try:
                with open(fd, "w") as file:
                    json.dump(entries, file)
                os.replace(temporary, self._path)
            except BaseException:
                os.unlink(temporary)
                raise


def remote_shells() -> RemoteShells:
    """What this user remembers. The same object as long as the environment names the same file."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification of XDG_CACHE_HOME says to ignore it then
        base = os.path.expanduser("~/.cache")
    path = os.path.join(base, "p2pannex", "remote-shells.json")
    return _OPEN.setdefault(path, RemoteShells(path))


_OPEN: dict[str, RemoteShells] = {}


__all__ = ["ENTRIES", "LIFETIME", "SHELLS", "RemoteShells", "remote_shells"]
