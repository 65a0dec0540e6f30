"""Errors as a user meets them: an exit code, and one line that says what to do.

What can go wrong is known by type, and this is where each type gets its code and its advice. A traceback is shown
with P2PANNEX_DEBUG=1 only; whatever has no line of its own here is a bug, and says so.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from p2pannex.cli import exit_codes
from p2pannex.keys.key import InvalidKey

if TYPE_CHECKING:
    from p2pannex.errors import ConnectionLost, RemoteError

DEBUG_VARIABLE = "P2PANNEX_DEBUG"


def one_of(error: BaseException) -> BaseException:
    """Of the errors in a group, the one to tell of: that the user interrupted, else the first."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt):
            return leaf
    return leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def describe(error: BaseException) -> tuple[int, str]:
    """The exit code for an error that is no group, and a line for people; empty where nothing need be said."""
    from p2pannex.errors import ConnectionLost, RemoteError

    if isinstance(error, KeyboardInterrupt):
        return exit_codes.INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return exit_codes.OUTPUT_CLOSED, ""
    if isinstance(error, RemoteError | ConnectionLost):
        return _of_a_repository(error)
    if isinstance(error, InvalidKey):
        return exit_codes.USAGE, str(error)
    if isinstance(error, OSError):
        return exit_codes.LOCAL_FILE, _of_a_file(error)
    if isinstance(error, ModuleNotFoundError) and error.name in ("rich", "hypothesis"):
        return exit_codes.FAILED, f"this needs the package {error.name}; install it with: pip install {error.name}"
    return (
        exit_codes.INTERNAL,
        f"bug: {type(error).__name__}: {error} (please report it, with what {DEBUG_VARIABLE}=1 shows)",
    )


def _of_a_repository(error: RemoteError | ConnectionLost) -> tuple[int, str]:
    from p2pannex.errors import ConnectionLost
    from p2pannex.transfer.drop import RemovalRefused
    from p2pannex.transfer.transfer import NotPresent, WrongContent
    from p2pannex.url_syntax import InvalidURL

    text = str(error)
    if isinstance(error, ConnectionLost):
        return exit_codes.UNREACHABLE, _of_a_connection(error)
    if isinstance(error, InvalidURL):
        return exit_codes.USAGE, text
    if isinstance(error, RemovalRefused | NotPresent):
        return exit_codes.NO, text
    if isinstance(error, WrongContent):
        return exit_codes.WRONG_CONTENT, text
    return exit_codes.FAILED, text


def _of_a_connection(error: ConnectionLost) -> str:
    from p2pannex.p2p.remote import AuthenticationFailed, WrongRepository
    from p2pannex.transports.process import ProcessEnded

    # Where it failed is a note, when that was as a URL was opened (see `p2pannex.cli.options.Connection`).
    text = ": ".join([*getattr(error, "__notes__", []), str(error)])
    if isinstance(error, AuthenticationFailed):
        return f"{text}; show a good one with P2PANNEX_TOKEN"
    if isinstance(error, WrongRepository | ProcessEnded):
        return text
    return f"{text}; try again (transfers resume)"


_ADVICE = {
    errno.EEXIST: "there is a file of this name; name another, or replace it with --force",
    errno.EISDIR: "this is a directory; name a file",
    errno.ENOENT: "there is no such file or directory",
    errno.EACCES: "permission denied",
    errno.ENOSPC: "the disk is full; make room and run this again, what has arrived is kept",
    errno.EDQUOT: "your disk quota is used up; make room and run this again, what has arrived is kept",
}


def _of_a_file(error: OSError) -> str:
    text = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, str | bytes) else text


def line(text: str) -> str:
    """`text` on one line, without what could command a terminal, whoever chose its words."""
    flat = " ".join(text.split())
    return "".join(character if character.isprintable() else "�" for character in flat)


def complain(text: str) -> None:
    """A line on standard error, if anybody is there to read it."""
    try:
        sys.stderr.write(f"p2pannex: {line(text)}\n")
        sys.stderr.flush()
    except OSError:
        pass


def show_trace(error: BaseException) -> None:
    """Where it happened, for who asked to see that."""
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(error)
