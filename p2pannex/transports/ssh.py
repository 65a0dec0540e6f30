"""The command line that reaches a server through the system's ssh (protocol-spec section 12).

Keys, known hosts, jump hosts and shared connections (ControlMaster) are the matter of the user's ssh configuration.
As with git, ``GIT_SSH_COMMAND`` is a piece of shell that replaces ``ssh``, and else ``GIT_SSH`` is a program that
does; both get ``[-p PORT] [USER@]HOST COMMAND``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

SSH_UNREACHABLE = 255
"""The exit status that ssh keeps for its own failures; every other is the remote command's."""

REMOTE_SHELL = "git-annex-shell"
"""The program that serves on the far side. p2pannex-shell can be installed under this name, or asked for by its own."""


class InvalidHost(ValueError):
    """A host or user name that ssh would take for something else."""


def quote(word: str) -> str:
    """`word` for a POSIX shell, and for the simpler parser that git-annex-shell has as a login shell."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def remote_command(directory: str, client_uuid: str, *, uuid: str | None = None, shell: str | None = None) -> str:
    """What a remote shell is to run, so that it serves `directory`. `uuid` is the repository expected there.

    `shell` is the serving program, as a piece of shell; ``P2PANNEX_REMOTE_SHELL`` or git-annex-shell where it is None.
    """
    shell = shell or os.environ.get("P2PANNEX_REMOTE_SHELL") or REMOTE_SHELL
    command = f"{shell} {quote('p2pstdio')} {quote(directory)} {quote(client_uuid)}"
    return f"{command} --uuid {quote(uuid)}" if uuid else command


def ssh_argv(
    host: str,
    port: int | None,
    user: str | None,
    command: str,
    *,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    """The command line that runs `command` on `host`. `options` are the user's own for ssh. `environ` replaces our own
    environment variables."""
    environ = os.environ if environ is None else environ
    if not host or host.startswith("-"):
        raise InvalidHost(f"{host!r} is not the name of a host")
    if user is not None and (not user or user.startswith("-")):
        raise InvalidHost(f"{user!r} is not the name of a user")
    arguments = [*options, *(["-p", str(port)] if port is not None else [])]
    arguments += [f"{user}@{host}" if user is not None else host, command]
    if snippet := environ.get("GIT_SSH_COMMAND"):
        return ["sh", "-c", f'{snippet} "$@"', snippet, *arguments]
    if program := environ.get("GIT_SSH"):
        return [program, *arguments]
    # -T: no terminal for the remote command, whatever the user's configuration says of interactive logins. ssh itself
    # may still ask for a password or a fingerprint; it does so on the user's terminal.
    return ["ssh", "-T", *arguments]


__all__ = ["SSH_UNREACHABLE", "InvalidHost", "quote", "remote_command", "ssh_argv"]
