"""Parse the command line of p2pannex-shell (protocol-spec section 12).

shlex and argparse are not used, because importing them takes too long: see `p2pannex.cli.shell.main`.
"""

from __future__ import annotations

import os

from p2pannex.restrictions import DIRECTORY, VARIABLES, Restrictions


class CommandRefused(Exception):
    """A command cannot be run. The text is one line for the client's user; `status` is the exit status."""

    def __init__(self, problem: str, status: int = 1) -> None:
        super().__init__(problem)
        self.status = status


class Uninitialised(CommandRefused):
    """The directory is a git repository in which git-annex has not been initialised."""


class Given:
    """The parameters and options that follow the directory on the command line."""

    def __init__(self) -> None:
        self.positional: list[str] = []
        self.uuid: str | None = None
        """The UUID of the repository that the client expects."""
        self.fields: list[str] = []
        """The words between two ``--``, such as ``autoinit=1``."""
        self.force = False


def split(line: str) -> list[str]:
    """Split a command line into words, with the quoting of a POSIX shell. Nothing is expanded."""
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
                raise CommandRefused("the command line ends with a backslash")
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
        raise CommandRefused("the command line has a quote that is not closed")
    return words if word is None else [*words, word]


def options(words: list[str]) -> Given:
    """Parse the words after the directory. Options may come anywhere among the parameters."""
    given = Given()
    fields = False
    rest = iter(words)
    for word in rest:
        if word == "--":
            fields = not fields
        elif fields:
            given.fields.append(word)
        elif word == "--debug":
            pass
        elif word == "--force":
            given.force = True
        elif word == "--uuid":
            given.uuid = next(rest, None)
            if given.uuid is None:
                raise CommandRefused("--uuid needs a UUID")
        elif word.startswith("--uuid="):
            given.uuid = word[len("--uuid=") :]
        elif word.startswith("-"):
            raise CommandRefused(f"invalid option {word}")
        else:
            given.positional.append(word)
    return given


def restrictions() -> Restrictions:
    """What the environment of this account, or of this ssh key, forbids."""
    return Restrictions(*(name for name, variable in VARIABLES.items() if is_set(variable)))


def refuse(action: str) -> None:
    """CommandRefused if a restriction refuses the command."""
    if restriction := restrictions().refusing(action):
        raise CommandRefused(f"action blocked by {VARIABLES[restriction]}")


def is_set(variable: str) -> bool:
    return bool(os.environ.get(variable))


def permitted_directory(directory: str) -> str:
    """The absolute path of the directory to use. CommandRefused if only another directory is allowed.

    If GIT_ANNEX_SHELL_DIRECTORY is set, the result is always what that variable contains. So the client's own spelling
    is never opened: no symbolic link that it names, or that changes meanwhile, leads elsewhere.
    """
    path = resolve(directory)
    if not is_set(VARIABLES[DIRECTORY]):
        return path
    allowed = resolve(os.environ[VARIABLES[DIRECTORY]])
    if path != allowed and not _same(path, allowed):
        raise CommandRefused(f"only allowed to access {allowed}, not {path}")
    return allowed


def _same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def resolve(directory: str) -> str:
    """The absolute path of `directory`. A relative one starts at the home directory, as for git-annex-shell.

    ``~/`` and ``/~/`` are the home directory, ``~user/`` and ``/~user/`` that of another user, if there is one. ``..``
    after a symbolic link is the parent of the directory that the link leads to, as for the kernel and for git.
    """
    name, slash, rest = directory.removeprefix("/").partition("/")
    if name == "~":
        directory = rest.lstrip("/")
    elif name.startswith("~"):
        home = os.path.expanduser(name)
        if home != name:
            directory = home + slash + rest
    path = os.path.join(os.path.expanduser("~"), directory)
    path = os.path.realpath(path) if ".." in path.split("/") else os.path.normpath(path)
    return path[1:] if path.startswith("//") else path
