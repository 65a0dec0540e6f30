"""What a command prints: lines for people or, with --json, an object a line.

Results go to standard output. What is wrong goes to standard error, one line a problem; with --json it is a line of
standard output as well, so that whoever reads those misses nothing.
"""

from __future__ import annotations

import json
import sys

import click

from p2pannex.cli.errors import complain, describe, one_of, show_trace

META = "p2pannex.output"
"""Where a click context keeps the command's `Output`."""


class Output:
    """Where the results of one command go.

    as_json: an object a line instead of text. quiet: neither text nor a progress bar.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def bars(self) -> bool:
        """Whether somebody looks who would like to see progress."""
        return not self.as_json and not self.quiet and sys.stderr.isatty()

    def result(self, text: bytes | str | None, **fields: object) -> None:
        """One result: `text` for people, where there is any, `fields` for programs."""
        if self.as_json:
            # Keys and names that are not UTF-8 come out as \udcXX, as Python's surrogateescape has it.
            click.echo(json.dumps(fields))
        elif text is not None and not self.quiet:
            click.echo(text)

    def failure(self, error: BaseException, **fields: object) -> int:
        """Tell of an error; its exit code."""
        error = one_of(error)
        code, text = describe(error)
        show_trace(error)
        return self.problem(code, text, **fields)

    def problem(self, code: int, text: str, **fields: object) -> int:
        """Tell what is wrong, in one line; `code` again."""
        if text:
            complain(text)
            if self.as_json:
                click.echo(json.dumps({**fields, "error": text, "exit_code": code}))
        return code


def current(context: click.Context) -> Output:
    """The output of the command being run; the plain one before any is."""
    output = context.meta.get(META)
    return output if isinstance(output, Output) else Output()
