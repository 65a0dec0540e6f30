"""The command line that starts a server through the system's ssh (protocol-spec section 12).

Keys, known hosts, jump hosts and shared connections (ControlMaster) come from the user's ssh configuration. As with
git, the shell command in ``GIT_SSH_COMMAND`` replaces ``ssh``; if it is not set, the program in ``GIT_SSH`` does. Both
get the arguments ``[-p PORT] [USER@]HOST COMMAND``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

SSH_UNREACHABLE = 255
"""The exit status by which ssh reports that it failed itself. Any other status is that of the remote command."""


class InvalidHost(ValueError):
    """A host or user name that is empty, or that ssh would take for an option."""


def quote(word: str) -> str:
    """Quote `word` for a POSIX shell, and for the simpler parser of git-annex-shell as a login shell."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def remote_command(directory: str, client_uuid: str, shell: str, *, uuid: str | None = None) -> str:
    """The shell command that serves `directory` on the server. `uuid` is the expected UUID of the repository there.

    `shell` is the serving program, as shell code. The command is a plain list of words, without other shell syntax:
    a program like git-annex-shell or p2pannex-shell as the account's login shell gets it as it stands.
    """
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
    """The command line that runs `command` on `host`. InvalidHost for a host or user name that ssh cannot take.

    `options` are further options for ssh. `environ` replaces the environment variables of this process.
    """
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
    # -T: no terminal for the remote command, whatever the user's configuration sets for interactive logins. ssh itself
    # can still prompt for a password or a fingerprint on the user's terminal.
    return ["ssh", "-T", *arguments]


__all__ = ["SSH_UNREACHABLE", "InvalidHost", "quote", "remote_command", "ssh_argv"]
