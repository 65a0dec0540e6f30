"""The command line of p2pannex-shell: its words, and what they mean (protocol-spec section 12).

It has its own few lines for what shlex and argparse do: see `p2pannex.cli.shell.main`.
"""

from __future__ import annotations

import os


class CommandRefused(Exception):
    """What was asked for cannot be done. The text is the line that the client's user reads."""

    def __init__(self, problem: str, status: int = 1) -> None:
        super().__init__(problem)
        self.status = status


class Uninitialised(CommandRefused):
    """The directory has a git repository that git-annex has not been used in."""


class Given:
    """What stands on a command line after the directory."""

    def __init__(self) -> None:
        self.positional: list[str] = []
        self.uuid: str | None = None
        """The repository that the client expects to find."""
        self.fields: list[str] = []
        """What stands between two ``--``, such as ``autoinit=1``."""
        self.force = False


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
                raise CommandRefused("a backslash ends the command line")
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
        raise CommandRefused("a quote is not closed in the command line")
    return words if word is None else [*words, word]


def options(words: list[str]) -> Given:
    """The words after the directory, sorted. Options may stand anywhere among the others."""
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
                raise CommandRefused("--uuid wants a uuid after it")
        elif word.startswith("--uuid="):
            given.uuid = word[len("--uuid=") :]
        elif word.startswith("-"):
            raise CommandRefused(f"invalid option {word}")
        else:
            given.positional.append(word)
    return given


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
