"""p2pannex-shell: what runs on a server when a git-annex client comes by ssh. A drop-in for git-annex-shell.

See protocol-spec section 12 for its command line. Every client waits for AUTH-SUCCESS before it can ask for anything,
so this file answers first and loads the rest afterwards: it imports nothing but os, sys and what reads a UUID, and
has its own few lines for what re, shlex and argparse do in ten times the time that bare Python takes to start.
`p2pannex.cli.shell_session` takes over once the client has its answer.

An error is one line on standard error, and exit status 1.
"""

from __future__ import annotations

import os
import sys

from p2pannex.stores.identity import config_path, read_uuid

TYPE_CHECKING = False  # typing itself takes as long to import as Python takes to start
if TYPE_CHECKING:
    from typing import NoReturn

NAMES = ("git-annex-shell", "p2pannex-shell")
"""What clients may call this program in a command line that a login shell gets."""

OBSOLETE = ("inannex", "dropkey", "recvkey", "sendkey", "lockcontent", "transferinfo", "commit", "gcryptsetup")
"""Commands of git-annex-shell that came before the P2P protocol, or have to do with git alone."""

USAGE = """\
usage: p2pannex-shell [-c] COMMAND [PARAMETER...]

  configlist DIR                       print the UUID of the repository in DIR
  p2pstdio DIR CLIENTUUID [--uuid UUID]  serve it over standard input and output
  notifychanges DIR                    tell of changes to its git refs

It is run by ssh, as the command of a key or as a login shell. Everything else goes to git-shell. Environment:
GIT_ANNEX_SHELL_READONLY, GIT_ANNEX_SHELL_APPENDONLY, GIT_ANNEX_SHELL_LIMITED, GIT_ANNEX_SHELL_DIRECTORY.
"""


class Refused(Exception):
    """What was asked for cannot be done. The text is the line that the client's user reads."""


def main() -> int:
    """Run the command line; the exit status."""
    try:
        return run(sys.argv[1:])
    except Refused as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("P2PANNEX_DEBUG"):
            raise
        return complain(f"{type(error).__name__}: {error} (set P2PANNEX_DEBUG=1 to see where)")


def complain(problem: str) -> int:
    line = f"p2pannex-shell: {' '.join(problem.split())}\n"
    try:
        os.write(2, line.encode(errors="surrogateescape"))
    except OSError:
        pass  # nobody is there to read it
    return 1


def run(words: list[str]) -> int:
    if not words:
        raise Refused("this account serves git-annex repositories; interactive logins are refused")
    if words in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if words[0] == "-c":
        if len(words) != 2:
            raise Refused("-c takes one parameter, a command line")
        line = words[1]
        words = split(line)
        if not words or words[0] not in NAMES:
            git_shell([line], words)
        words = words[1:]
        if not words:
            raise Refused("which command? See p2pannex-shell --help")
    elif words[0] not in COMMANDS and words[0] not in OBSOLETE:
        git_shell(words, split(words[0]) if len(words) == 1 else words)
    command, *rest = words
    if command in OBSOLETE:
        raise Refused(f"{command} is not supported: it predates git-annex's P2P protocol; use a newer git-annex")
    if command not in COMMANDS:
        if is_set("GIT_ANNEX_SHELL_LIMITED"):
            raise Refused("action blocked by GIT_ANNEX_SHELL_LIMITED")
        raise Refused(f"there is no command {command!r}; see p2pannex-shell --help")
    if not rest:
        raise Refused(f"{command} of which directory?")
    directory = resolve(rest[0])
    check_directory(directory)
    return COMMANDS[command](directory, *options(rest[1:]))


# The command line ------------------------------------------------------------------------------------------------


def split(line: str) -> list[str]:
    """The words of a command line, quoted as for a POSIX shell. It expands nothing."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    characters = iter(line)
    for character in characters:
        if character == quote:
            quote = ""
        elif character == "\\" and quote != "'":
            following = next(characters, None)
            if following is None:
                raise Refused("a backslash ends the command line")
            literal = "\\" if quote and following not in '"\\$`' else ""
            word = (word or "") + literal + following
        elif quote:
            word = (word or "") + character
        elif character in "'\"":
            quote = character
            word = word or ""
        elif character in " \t\n":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    if quote:
        raise Refused("a quote is not closed in the command line")
    return words if word is None else [*words, word]


def options(words: list[str]) -> tuple[list[str], str | None]:
    """Positional parameters, and the UUID that the client expects here.

    What stands between two ``--`` are fields such as ``autoinit=1``, which say nothing to a store that exists.
    """
    positional: list[str] = []
    uuid: str | None = None
    fields = False
    rest = iter(words)
    for word in rest:
        if word == "--":
            fields = not fields
        elif fields or word == "--debug":
            pass
        elif word == "--uuid":
            uuid = next(rest, None)
            if uuid is None:
                raise Refused("--uuid wants a uuid after it")
        elif word.startswith("--uuid="):
            uuid = word[len("--uuid=") :]
        elif word.startswith("-"):
            raise Refused(f"invalid option {word}")
        else:
            positional.append(word)
    return positional, uuid


def is_set(variable: str) -> bool:
    return bool(os.environ.get(variable))


def resolve(directory: str) -> str:
    """An absolute path. What is relative is so to the home directory, as for git-annex-shell."""
    for home in ("~", "/~"):
        if directory == home:
            directory = ""
        elif directory.startswith(home + "/"):
            directory = directory[len(home) :].lstrip("/")
    path = os.path.normpath(os.path.join(os.path.expanduser("~"), directory))
    return path[1:] if path.startswith("//") else path


def check_directory(directory: str) -> None:
    allowed = os.environ.get("GIT_ANNEX_SHELL_DIRECTORY")
    if allowed and resolve(allowed) != directory:
        raise Refused(f"only allowed to access {resolve(allowed)}, not {directory}")


def git_shell(command: list[str], words: list[str]) -> NoReturn:
    """Become git-shell, which knows what git may do here. `words` are those of the command, for the restrictions."""
    if is_set("GIT_ANNEX_SHELL_LIMITED"):
        raise Refused("action blocked by GIT_ANNEX_SHELL_LIMITED")
    if is_set("GIT_ANNEX_SHELL_DIRECTORY"):
        if len(words) < 2:
            raise Refused("only git commands on one directory are allowed")
        check_directory(resolve(words[-1]))
    try:
        os.execvp("git-shell", ["git-shell", "-c", *command])
    except OSError as error:
        raise Refused(f"cannot run git-shell: {error.strerror}") from error


# Commands --------------------------------------------------------------------------------------------------------


def identify(directory: str, expected: str | None) -> tuple[str, str]:
    """What kind of store is in the directory, and its UUID, which has to be the expected one if any is.

    This is where kinds are told apart; `p2pannex.cli.shell_session.OPEN` opens them.
    """
    path = os.fsencode(directory)
    kind = "directory"
    try:
        uuid = read_uuid(path)
    except (FileNotFoundError, NotADirectoryError):
        from p2pannex.stores.annex_config import NotAnAnnex, looks_like_git, read_annex_config

        if looks_like_git(path):
            kind = "annex"
            try:
                uuid = read_annex_config(path).uuid
            except NotAnAnnex as error:
                raise Refused(str(error)) from None
        elif not os.path.exists(directory):
            raise Refused(f"there is no {directory}") from None
        else:
            raise Refused(f"{directory} is no p2pannex store; make one with: p2pannex init {directory}") from None
    except OSError as error:
        raise Refused(f"cannot read {os.fsdecode(config_path(path))}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"cannot use {os.fsdecode(config_path(path))}: {error}") from error
    if expected is not None and expected != uuid:
        raise Refused(f"expected repository UUID {expected} but found UUID {uuid}")
    return kind, uuid


def configlist(directory: str, positional: list[str], expected: str | None) -> int:
    if positional:
        raise Refused("configlist takes a directory and nothing else")
    _, uuid = identify(directory, expected)
    write(1, f"annex.uuid={uuid}\ncore.gcrypt-id=\n")
    return 0


def p2pstdio(directory: str, positional: list[str], expected: str | None) -> int:
    if len(positional) != 1:
        raise Refused("missing UUID parameter" if not positional else "too many parameters")
    kind, uuid = identify(directory, expected)
    # From here on only the session can write to the client: a stray print must not end up among content.
    output = os.dup(1)
    os.dup2(2, 1)
    write(output, f"AUTH-SUCCESS {uuid}\n")

    from p2pannex.cli.shell_session import run_session

    problem = run_session(
        kind,
        directory,
        uuid,
        descriptors=(0, output),
        read_only=is_set("GIT_ANNEX_SHELL_READONLY"),
        append_only=is_set("GIT_ANNEX_SHELL_APPENDONLY"),
    )
    return complain(problem) if problem else 0


def notifychanges(directory: str, positional: list[str], expected: str | None) -> int:
    identify(directory, expected)
    raise Refused(f"there is no git repository in {directory} whose changes could be told")


def write(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise Refused(f"the client is gone: {error.strerror}") from error


COMMANDS = {"configlist": configlist, "notifychanges": notifychanges, "p2pstdio": p2pstdio}

if __name__ == "__main__":
    sys.exit(main())
