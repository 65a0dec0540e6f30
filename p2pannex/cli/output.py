"""What a command prints: text for people or, with --json, one JSON object per line.

Results go to standard output. Problems go to standard error, one line each. With --json, a problem is also an object on
standard output, so that a program that reads only standard output misses nothing.
"""

from __future__ import annotations

import json
import sys

import click

from p2pannex.cli.errors import complain, describe, one_of, show_trace

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
            # Bytes that are not UTF-8 are printed as \udcXX: they were decoded with Python's surrogateescape.
            click.echo(json.dumps(fields))
        elif text is not None and not self.quiet:
            click.echo(text)

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
                click.echo(json.dumps({**fields, "error": text, "exit_code": code}))
        return code


def current(context: click.Context) -> Output:
    """The output of the command that runs; a plain one if none has started."""
    output = context.meta.get(META)
    return output if isinstance(output, Output) else Output()
