"""p2pannex-shell: the program that ssh runs on a server for a git-annex client. It can replace git-annex-shell.

Its command line is specified in protocol-spec section 12. An error is one line on standard error, and exit status 1.

Every client waits for AUTH-SUCCESS before it sends a request. This module therefore sends AUTH-SUCCESS as early as
possible, and only then imports `p2pannex.cli.shell.session`, which serves the client. Until then it imports nothing
but os, sys and what reads a UUID: even re, shlex and argparse take ten times as long to import as Python takes to
start.
"""

from __future__ import annotations

import os
import sys

from p2pannex.cli.shell.command_line import (
    CommandRefused,
    Given,
    Uninitialised,
    options,
    permitted_directory,
    refuse,
    restrictions,
    split,
)
from p2pannex.cli.shell.owner import check_not_pushed, check_store
from p2pannex.restrictions import OTHER
from p2pannex.stores.directory_config import NO_STORE, config_path, read_uuid
from p2pannex.system.stdio import claim_output

TYPE_CHECKING = False  # importing typing takes as long as Python takes to start
if TYPE_CHECKING:
    from typing import NoReturn

    from p2pannex.gateways.repository.reading import Served
    from p2pannex.git_annex.config import AnnexConfig

NAMES = ("git-annex-shell", "p2pannex-shell")
"""The first word of a command line that a client sends to a login shell: the program that it wants to run."""

LEGACY = ("inannex", "dropkey")
"""Commands that are older than the P2P protocol. They are in `p2pannex.cli.shell.legacy`."""

OBSOLETE = ("recvkey", "sendkey", "lockcontent", "transferinfo", "commit", "gcryptsetup")
"""Commands of git-annex-shell that are not supported: they need rsync or gcrypt, or clients no longer send them."""

USAGE = """\
usage: p2pannex-shell [-c] COMMAND [PARAMETER...]

  configlist DIR                       print the UUID of the repository in DIR
  p2pstdio DIR CLIENTUUID [--uuid UUID]  serve it on standard input and output; with the UUID of a
                                       cluster or repository that it is the gateway of, serve that
  notifychanges DIR                    report changes to its git refs
  inannex DIR KEY...                   exit status 0 if the content of all keys is present, 1 if not
  dropkey DIR --force KEY...           remove the content of keys, without checking for other copies

ssh runs it, as the command of a key or as a login shell. Other commands are passed to git-shell. Environment:
GIT_ANNEX_SHELL_READONLY, GIT_ANNEX_SHELL_APPENDONLY, GIT_ANNEX_SHELL_LIMITED, GIT_ANNEX_SHELL_DIRECTORY.
"""


class OtherRepository(CommandRefused):
    """Not the repository that the client expects. `config` is set if it may be a gateway of the expected one."""

    def __init__(self, problem: str, config: AnnexConfig | None) -> None:
        super().__init__(problem)
        self.config = config


def main() -> int:
    """Run the command line. Returns the exit status."""
    try:
        return run(sys.argv[1:])
    except CommandRefused as error:
        complain(str(error))
        return error.status
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("P2PANNEX_DEBUG"):
            import traceback

            from p2pannex.terminal import safe_lines

            os.write(2, safe_lines("".join(traceback.format_exception(error))).encode())
            return 1
        return complain(f"{type(error).__name__}: {error} (P2PANNEX_DEBUG=1 prints the traceback)")


def complain(problem: str) -> int:
    # Parts of the text may come from the client, and the text is shown on the client's terminal.
    from p2pannex.terminal import safe_line

    try:
        os.write(2, f"p2pannex-shell: {safe_line(problem)}\n".encode())
    except OSError:
        pass  # standard error is closed
    return 1


def run(words: list[str]) -> int:
    if not words or words in [["-c", name] for name in NAMES]:
        words = forced_command(words)
    if words in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if words[0] == "-c":
        if len(words) != 2:
            raise CommandRefused("-c takes one parameter, a command line")
        line = words[1]
        words = split(line)
        if not words or words[0] not in NAMES:
            run_git_shell(line, words)
        words = words[1:]
        if not words:
            raise CommandRefused("the command is missing; see p2pannex-shell --help")
    elif words[0] not in (*COMMANDS, *LEGACY, *OBSOLETE):
        run_git_shell(words[0] if len(words) == 1 else None, split(words[0]) if len(words) == 1 else words)
    command, *rest = words
    if command in OBSOLETE:
        raise CommandRefused(f"{command} is not supported: it predates git-annex's P2P protocol; use a newer git-annex")
    if command not in COMMANDS and command not in LEGACY:
        refuse(OTHER)
        raise CommandRefused(f"there is no command {command!r}; see p2pannex-shell --help")
    if not rest:
        raise CommandRefused(f"{command} needs a directory")
    refuse(command)
    directory = permitted_directory(rest[0])
    check_not_pushed(directory)
    given = options(rest[1:])
    if command in LEGACY:
        kind, _, _ = identify(directory, given.uuid)

        from p2pannex.cli.shell.legacy import COMMANDS as LEGACY_COMMANDS

        return LEGACY_COMMANDS[command](kind, directory, given)
    return COMMANDS[command](directory, given)


# The command line ------------------------------------------------------------------------------------------------


def forced_command(words: list[str]) -> list[str]:
    """The command line to run, if this program is the forced command of an ssh key or account.

    sshd then passes the client's command in SSH_ORIGINAL_COMMAND. If it is not set, the result is `words`.
    """
    command = os.environ.get("SSH_ORIGINAL_COMMAND")
    if command is not None:
        return ["-c", command]
    if not words:
        raise CommandRefused("this account serves git-annex repositories; interactive logins are refused")
    return words


def run_git_shell(line: str | None, words: list[str]) -> NoReturn:
    from p2pannex.cli.shell.git_shell import git_shell

    git_shell(line, words)


# Commands --------------------------------------------------------------------------------------------------------


def identify(directory: str, expected: str | None) -> tuple[str, str, AnnexConfig | None]:
    """The kind of the repository in a directory, and its UUID. `p2pannex.cli.shell.session.OPEN` opens each kind.

    If `expected` is given, the repository must have that UUID; OtherRepository is raised if it has another one. If it
    is not given, Uninitialised is raised for a git repository that has no UUID yet. Every other failure is a plain
    CommandRefused.
    """
    path = os.fsencode(directory)
    kind, config = "directory", None
    try:
        uuid = read_uuid(path)
        check_store(path)
    except (FileNotFoundError, NotADirectoryError):
        from p2pannex.git_annex.config import NotAnAnnex, NotInitialised, looks_like_git, read_annex_config

        if looks_like_git(path):
            kind = "annex"
            try:
                config = read_annex_config(path)
                uuid = config.uuid
            except NotInitialised as error:
                if expected is not None:
                    raise CommandRefused(
                        f"expected repository UUID {expected} but found uninitialized repository"
                    ) from None
                raise Uninitialised(str(error)) from None
            except NotAnAnnex as error:
                raise CommandRefused(str(error)) from None
        elif not os.path.exists(directory):
            raise CommandRefused(f"there is no {directory}") from None
        else:
            raise CommandRefused(f"{directory} {NO_STORE}") from None
    except OSError as error:
        raise CommandRefused(f"cannot read {os.fsdecode(config_path(path))}: {error.strerror}") from error
    except ValueError as error:
        raise CommandRefused(f"cannot use {os.fsdecode(config_path(path))}: {error}") from error
    if expected is not None and expected != uuid:
        raise OtherRepository(f"expected repository UUID {expected} but found UUID {uuid}", config)
    return kind, uuid, config


def behind_gateway(config: AnnexConfig, uuid: str, client: str) -> Served:
    """What to serve if a client expects the cluster or repository `uuid` and finds a git-annex repository.

    Raises CommandRefused if the git-annex repository is not a gateway of `uuid`.
    """
    from p2pannex.gateways.repository.reading import read_served
    from p2pannex.gateways.repository.rules import NotServed
    from p2pannex.git_annex.config import NotAnAnnex

    try:
        return read_served(config, uuid, client)
    except (NotAnAnnex, NotServed) as error:
        raise CommandRefused(str(error)) from None


def configlist(directory: str, given: Given) -> int:
    if given.positional:
        raise CommandRefused("configlist takes a directory and nothing else")
    try:
        _, uuid, config = identify(directory, given.uuid)
    except Uninitialised:
        from p2pannex.cli.shell.autoinit import initialise

        uuid, config = "", None  # for the client, this means a git repository without git-annex
        if initialise(directory, requested="autoinit=1" in given.fields):
            _, uuid, config = identify(directory, None)
    gcrypt = "" if config is None else config.values.get("core.gcrypt-id", "")
    write(1, f"annex.uuid={uuid}\ncore.gcrypt-id={gcrypt}\n")
    return 0


def p2pstdio(directory: str, given: Given) -> int:
    if len(given.positional) != 1:
        raise CommandRefused("missing UUID parameter" if not given.positional else "too many parameters")
    served = None
    try:
        kind, uuid, _ = identify(directory, given.uuid)
    except OtherRepository as error:
        if given.uuid is None or error.config is None:
            raise
        served = behind_gateway(error.config, given.uuid, given.positional[0])
        kind, uuid = "gateway", given.uuid
    output = claim_output()
    write(output, f"AUTH-SUCCESS {uuid}\n")

    from p2pannex.cli.shell.session import run_session

    problem = run_session(
        kind,
        directory,
        uuid,
        descriptors=(0, output),
        restrictions=restrictions(),
        served=served,
        report=complain,
    )
    return complain(problem) if problem else 0


def notifychanges(directory: str, given: Given) -> int:
    if given.positional:
        raise CommandRefused("notifychanges takes a directory and nothing else")
    kind, _, _ = identify(directory, given.uuid)
    if kind != "annex":
        raise CommandRefused(f"there is no git repository in {directory} whose changes could be reported")
    output = claim_output()
    write(output, "READY\n")

    from p2pannex.cli.shell.session import run_notifychanges

    problem = run_notifychanges(directory, descriptors=(0, output))
    return complain(problem) if problem else 0


def write(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise CommandRefused(f"the client has disconnected: {error.strerror}") from error


COMMANDS = {
    "configlist": configlist,
    "notifychanges": notifychanges,
    "p2pstdio": p2pstdio,
}

if __name__ == "__main__":
    sys.exit(main())
