"""The program `p2pannex`: a group of commands, each of which is imported when it is used.

A command returns its exit code, or None for 0. `CommandGroup` turns each exception that a command raises into an exit
code and one line on standard error (see `p2pannex.cli.errors`).
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import complain, one_of
from p2pannex.cli.output import Output, current

COMMANDS = {
    # name of the command: its module in p2pannex.cli
    "quickstart": "quickstart.command",
    "init": "repository",
    "info": "repository",
    "put": "content",
    "get": "content",
    "check": "content",
    "remove": "removal",
    "lock": "locking",
    "copy": "content",
    "serve": "serving",
    "proxy": "serving",
    "cluster": "cluster.commands",
    "token": "token",
    "trust": "trust",
    "conformance": "measuring",
    "bench": "measuring",
    "completion": "completion",
}
"""The commands, in the order in which --help lists them."""


class CommandGroup(click.Group):
    """A group that imports a command when it is used, and prints an error as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"p2pannex.cli.{module}"), cmd_name)
        return command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("\n" + exit_codes.TABLE + "\n")

    def invoke(self, ctx: click.Context) -> Any:
        from p2pannex.cli.log_lines import use

        use("p2pannex")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
            # A BaseExceptionGroup arises if the user interrupts while the two tasks of a transfer are running.
            if isinstance(one_of(error), click.ClickException | click.exceptions.Exit):
                raise one_of(error) from error
            return current(ctx).failure(error)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line. Returns the exit code or, with `standalone_mode`, exits with it."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # File names and what servers send may contain characters that the terminal's encoding lacks.
                stream.reconfigure(errors="backslashreplace")
        try:
            result = super().main(args, prog_name or "p2pannex", complete_var, standalone_mode=False, **extra)
            code = result if isinstance(result, int) else exit_codes.DONE
        except click.exceptions.NoArgsIsHelpError as error:  # a group without a command: its text is the whole help
            code = error.exit_code
            error.show()
        except click.ClickException as error:
            code = Output(as_json=_wants_json(args)).problem(error.exit_code, _usage(error))
        except (click.Abort, KeyboardInterrupt):
            code = exit_codes.INTERRUPTED
            complain("interrupted")
        except Exception as error:
            code = Output().failure(error)
        code = _flushed(code)
        if standalone_mode:
            sys.exit(code)
        return code


def _wants_json(args: Sequence[str] | None) -> bool:
    """Whether --json is one of the options of a command line that could not be parsed."""
    words = list(sys.argv[1:] if args is None else args)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "p2pannex"
    prefix = where.removeprefix("p2pannex").strip()
    text = f"{prefix}: {error.format_message()}" if prefix else error.format_message()
    return f"{text} (see {where} --help)" if isinstance(error, click.UsageError) else text


def _flushed(code: int) -> int:
    """Flush standard output. Returns `code`, or the exit code of the error if flushing fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again at its end, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OUTPUT_CLOSED
    except OSError as error:
        if code != exit_codes.LOCAL_FILE:  # otherwise writing failed earlier, and the same error was reported then
            complain(f"standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.LOCAL_FILE
    return code


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"p2pannex {version('p2pannex')}")
        ctx.exit()


@click.command(
    "p2pannex", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def program() -> None:
    """Store, fetch, lock and remove the content of git-annex keys, on this machine or on others.

    \b
    A URL is one of
      DIR                                 a store (p2pannex init), git-annex repository or gateway
      ssh://[USER@]HOST[:PORT]/DIR        ?shell=PROGRAM, ?uuid=UUID
      exec:COMMAND                        a program that serves on stdin and stdout
      unix:PATH  tcp://HOST:PORT  tls://HOST:PORT[?ca=FILE]
      p2p-annex::NET:ADDRESS

    Start with `p2pannex quickstart`. P2PANNEX_DEBUG=1 prints the traceback of an error.
    """
