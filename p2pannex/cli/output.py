"""What a command prints: text for people or, with --json, one JSON object per line.

All text passes through `p2pannex.terminal`, because servers, nodes and file names may contain what commands a terminal.
There are two exceptions. Bytes are names that other programs read: they are printed as they are, unless to a terminal.
With --json, keys, paths and URLs are printed in full; JSON's own escapes make them safe for a terminal.

Results go to standard output. Problems go to standard error, one line each. With --json, a problem is also an object on
standard output, so that a program that reads only standard output misses nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

import click

from p2pannex.cli.errors import complain, describe, one_of, show_trace
from p2pannex.terminal import safe, safe_lines

EXACT = ("key", "file", "path", "url", "external", "token", "listening", "script")
"""JSON fields with names that programs use: what they contain is not changed."""

META = "p2pannex.output"
"""Where a click context keeps the command's `Output`."""


class Output:
    """Prints the results and problems of one command.

    as_json: print one JSON object per line instead of text. quiet: print neither text nor progress bars.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def bars(self) -> bool:
        """Whether to show progress bars: only on a terminal, and only without --json and --quiet."""
        return not self.as_json and not self.quiet and sys.stderr.isatty()

    def result(self, text: bytes | str | None, **fields: object) -> None:
        """Print one result: `text` for people, or nothing if it is None; with --json, `fields`."""
        if self.as_json:
            self._json(fields)
        elif text is not None and not self.quiet:
            if isinstance(text, bytes) and not sys.stdout.isatty():
                click.echo(text)
            else:
                click.echo(safe_lines(os.fsdecode(text)))

    def failure(self, error: BaseException, **fields: object) -> int:
        """Report an error. Returns its exit code."""
        error = one_of(error)
        code, text = describe(error)
        show_trace(error)
        return self.problem(code, text, **fields)

    def problem(self, code: int, text: str, **fields: object) -> int:
        """Report a problem in one line. Returns `code`."""
        if text:
            complain(text)
            if self.as_json:
                self._json({**fields, "error": text, "exit_code": code})
        return code

    @staticmethod
    def _json(fields: Mapping[str, object]) -> None:
        # Bytes that are not UTF-8 are printed as \udcXX: they were decoded with Python's surrogateescape.
        click.echo(json.dumps({name: value if name in EXACT else _safe(value) for name, value in fields.items()}))


def _safe(value: object) -> object:
    """The value of a JSON field, with all text in it made safe: programs print it, too."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, Mapping):
        return {safe(str(name)): _safe(each) for name, each in value.items()}
    return [_safe(each) for each in value] if isinstance(value, list | tuple) else value


def current(context: click.Context) -> Output:
    """The output of the command that runs; a plain one if none has started."""
    output = context.meta.get(META)
    return output if isinstance(output, Output) else Output()
