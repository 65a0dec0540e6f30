"""Which restriction refuses which request and which command. Every server of a repository uses this one table.

A server looks each request up before it handles it (`p2pannex.p2p.server`), whether the client came over ssh, a socket
or standard input. p2pannex-shell looks each command up before it runs it (`p2pannex.cli.shell.main`). What the table
does not contain is refused under every restriction. ``python tools/access_table.py`` writes the table into
docs/reference/access.md.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start.
"""

from __future__ import annotations

READ_ONLY = "read-only"
APPEND_ONLY = "append-only"
LIMITED = "limited"
DIRECTORY = "directory"
RESTRICTIONS = (READ_ONLY, APPEND_ONLY, LIMITED, DIRECTORY)
"""All restrictions. If several refuse the same action, the error names the first."""

VARIABLES = {
    READ_ONLY: "GIT_ANNEX_SHELL_READONLY",
    APPEND_ONLY: "GIT_ANNEX_SHELL_APPENDONLY",
    LIMITED: "GIT_ANNEX_SHELL_LIMITED",
    DIRECTORY: "GIT_ANNEX_SHELL_DIRECTORY",
}
"""The environment variable of p2pannex-shell that sets each restriction."""

REQUESTS: dict[str, tuple[str, ...]] = {
    "BYPASS": (),
    "CHECKPRESENT": (),
    "CONNECT git-receive-pack": (READ_ONLY, APPEND_ONLY, LIMITED),  # a push can delete as well as append
    "CONNECT git-upload-pack": (LIMITED,),
    "ERROR": (),
    "GET": (),
    "GETTIMESTAMP": (),
    "LOCKCONTENT": (),
    "NOTIFYCHANGE": (),
    "PUT": (READ_ONLY,),
    "REMOVE": (READ_ONLY, APPEND_ONLY),
    "REMOVE-BEFORE": (READ_ONLY, APPEND_ONLY),
    "VERSION": (),
}
"""The requests of the protocol, and the restrictions that refuse each. CONNECT is listed by git program."""

AUTOINIT = "configlist autoinit"
OTHER = "other commands"

COMMANDS: dict[str, tuple[str, ...]] = {
    "configlist": (),
    AUTOINIT: (READ_ONLY,),
    "p2pstdio": (),
    "notifychanges": (),
    "inannex": (),
    "dropkey": (READ_ONLY, APPEND_ONLY),
    "git-upload-pack": (LIMITED,),
    "git-upload-archive": (LIMITED,),
    "git-receive-pack": (READ_ONLY, LIMITED),
    OTHER: RESTRICTIONS,
}
"""The commands of p2pannex-shell, and the restrictions that refuse each. `AUTOINIT` is configlist where it would
initialise the repository. `OTHER` is everything else that is passed to git-shell."""

GIT_COMMANDS = ("git-upload-pack", "git-upload-archive", "git-receive-pack")
"""The commands that git-shell runs on one git repository."""

APPENDS = {
    "receive.denyDeletes": "true",
    "receive.denyNonFastForwards": "true",
}
"""The git settings under which git-receive-pack runs if the client is limited to appending."""

_REFUSING = REQUESTS | COMMANDS


class Restrictions:
    """The restrictions of one client. It is false if there are none. Names other than those above have no effect."""

    def __init__(self, *names: str) -> None:
        self.names = tuple(name for name in RESTRICTIONS if name in names)

    def __bool__(self) -> bool:
        return bool(self.names)

    def refusing(self, action: str) -> str | None:
        """The restriction that refuses a request or a command; None if it is allowed."""
        refusing = _REFUSING.get(action, RESTRICTIONS)
        return next((name for name in self.names if name in refusing), None)


__all__ = [
    "APPENDS",
    "APPEND_ONLY",
    "AUTOINIT",
    "COMMANDS",
    "DIRECTORY",
    "GIT_COMMANDS",
    "LIMITED",
    "OTHER",
    "READ_ONLY",
    "REQUESTS",
    "RESTRICTIONS",
    "VARIABLES",
    "Restrictions",
]
