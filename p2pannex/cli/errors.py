"""Errors for users: an exit code, and one line that says what failed and what to do.

`describe` maps each type of error to its exit code and its line. It reports an error of any other type as a bug.
Tracebacks are printed only with P2PANNEX_DEBUG=1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from p2pannex.cli import exit_codes
from p2pannex.keys.key import InvalidKey
from p2pannex.terminal import safe_line, safe_lines

if TYPE_CHECKING:
    from p2pannex.errors import ConnectionLost, RemoteError

DEBUG_VARIABLE = "P2PANNEX_DEBUG"

TRANSFERS = ("put", "get", "copy")
"""Commands that continue where they stopped if they are run again."""


def one_of(error: BaseException) -> BaseException:
    """The error to report: of a group, KeyboardInterrupt if it contains one, otherwise its first error."""
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
    """The exit code for an error, and a line for people, which is empty if nothing has to be printed.

    Of a group, pass the error that `one_of` returns.
    """
    from p2pannex.errors import ConnectionLost, RemoteError

    if isinstance(error, KeyboardInterrupt):
        return exit_codes.INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return exit_codes.OUTPUT_CLOSED, ""
    if isinstance(error, RemoteError | ConnectionLost):
        return _describe_repository_error(error)
    if isinstance(error, InvalidKey):
        return exit_codes.USAGE, str(error)
    if isinstance(error, OSError):
        return exit_codes.LOCAL_FILE, _file_error_text(error)
    if isinstance(error, ModuleNotFoundError) and error.name in ("rich", "hypothesis"):
        return exit_codes.FAILED, f"the package {error.name} is missing; install it with: pip install {error.name}"
    return (
        exit_codes.INTERNAL,
        f"bug: {type(error).__name__}: {error} (please report it, with the traceback that {DEBUG_VARIABLE}=1 prints)",
    )


def _describe_repository_error(error: RemoteError | ConnectionLost) -> tuple[int, str]:
    from p2pannex.errors import AccessDenied, ConnectionLost
    from p2pannex.service import NotLocked
    from p2pannex.transfer.drop import RemovalRefused
    from p2pannex.transfer.errors import NotPresent, WrongContent
    from p2pannex.url_syntax import InvalidURL

    text = str(error)
    if isinstance(error, ConnectionLost):
        return exit_codes.UNREACHABLE, _connection_error_text(error)
    if isinstance(error, InvalidURL):
        return exit_codes.USAGE, text
    if isinstance(error, RemovalRefused | NotPresent | NotLocked | AccessDenied):
        return exit_codes.NO, text
    if isinstance(error, WrongContent):
        return exit_codes.WRONG_CONTENT, text
    return exit_codes.FAILED, text


def _connection_error_text(error: ConnectionLost) -> str:
    from p2pannex.p2p.remote import AuthenticationFailed, WrongRepository
    from p2pannex.transports.process import ProcessEnded

    # If the URL could not be opened, it is a note of the error (see `p2pannex.cli.options.ConnectionOptions`).
    notes: list[str] = getattr(error, "__notes__", [])
    text = ": ".join([*notes, str(error)])
    if isinstance(error, AuthenticationFailed):
        url = shlex.quote(notes[0]) if notes and "…" not in notes[0] else "URL"
        return f"{text}; save this server's token: p2pannex token save {url}"
    if error.permanent or isinstance(error, WrongRepository | ProcessEnded) or _command() not in TRANSFERS:
        return text
    return f"{text}; try again (transfers resume)"


def _command() -> str | None:
    """The name of the command that runs."""
    import click

    context = click.get_current_context(silent=True)
    return context.find_root().invoked_subcommand if context is not None else None


_ADVICE = {
    errno.EEXIST: "this file exists already; name another (--force would replace this one)",
    errno.EISDIR: "this is a directory; name a file",
    errno.ENOENT: "there is no such file or directory",
    errno.EACCES: "permission denied",
    errno.ENOSPC: "the disk is full; free some space and run this again, what has arrived is kept",
    errno.EDQUOT: "your disk quota is used up; free some space and run this again, what has arrived is kept",
}


def _file_error_text(error: OSError) -> str:
    text = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, str | bytes) else text


def complain(text: str) -> None:
    """Print a line on standard error. Does nothing if standard error is closed."""
    try:
        sys.stderr.write(f"p2pannex: {safe_line(text)}\n")
        sys.stderr.flush()
    except OSError:
        pass


def show_trace(error: BaseException) -> None:
    """Print the traceback if P2PANNEX_DEBUG is set."""
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            sys.stderr.write(safe_lines(text))
