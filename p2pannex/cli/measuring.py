"""`p2pannex conformance` and `p2pannex bench`: test a server against the protocol, and measure its speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2pannex.testing.benchmarks.stdio import Comparison
    from p2pannex.testing.conformance import Result


TO_FIELD_NAME = str.maketrans("- ", "__")
"""Turns the name of a column into that of a JSON field."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--version", "versions", type=click.IntRange(0, 4), multiple=True, help="Only this version. May be repeated."
)
@click.option("--transcript", "names", metavar="NAME", multiple=True, help="Only this transcript. May be repeated.")
@click.option(
    "--variant",
    type=click.Choice(["p2pannex", "git-annex"]),
    default="p2pannex",
    show_default=True,
    help="Whose replies to expect where the two differ on purpose.",
)
@click.option(
    "--modes",
    is_flag=True,
    help="Also test read-only and append-only. COMMAND must honour GIT_ANNEX_SHELL_READONLY and "
    "GIT_ANNEX_SHELL_APPENDONLY.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="How long each wait may take.",
)
@prints
def conformance(
    command: tuple[str, ...],
    versions: tuple[int, ...],
    names: tuple[str, ...],
    variant: str,
    modes: bool,
    timeout: float,
    output: Output,
) -> int:
    """Run the protocol's transcripts against a server.

    COMMAND serves a repository on its standard input and output, and sends AUTH-SUCCESS first. It is started many
    times, always on the same repository: use one that may be filled with test content. Options come before COMMAND.
    The exit code is 1 if any transcript fails. If the first start sends no AUTH-SUCCESS, no transcript is run.

    \b
    p2pannex conformance -- p2pannex-shell p2pstdio /tmp/store CLIENT-UUID
    """
    import trio

    from p2pannex.testing.conformance import MODES, NoAuthSuccess, require_auth_success, run_conformance
    from p2pannex.testing.transcripts import load_transcripts

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("COMMAND is missing")
    if names and not any(transcript.name in names for transcript in load_transcripts()):
        return output.problem(exit_codes.USAGE, "there is no transcript with this name")
    counts = {"passed": 0, "failed": 0, "skipped": 0}

    def report(result: Result) -> None:
        counts[result.status] += 1
        output.result(str(result), **result.as_json())

    async def run() -> None:
        await require_auth_success(command, timeout)
        await run_conformance(
            command,
            versions=versions or range(5),
            names=names or None,
            variant=variant,
            modes=tuple(MODES) if modes else ("read-write",),
            timeout=timeout,
            report=report,
        )

    try:
        trio.run(run)
    except NoAuthSuccess as error:
        return output.problem(exit_codes.NO, str(error))
    if not any(counts.values()):
        return output.problem(exit_codes.USAGE, "the transcript is not for this version")
    if not output.as_json:
        output.result(", ".join(f"{count} {status}" for status, count in counts.items()))
    return exit_codes.NO if counts["failed"] else exit_codes.DONE


@click.command()
@click.argument("which", type=click.Choice(["stdio", "annex", "cluster", "throttled"]), default="stdio")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How many; the median is printed."
)
@click.option(
    "--size", type=click.IntRange(min=1), metavar="MIB", help="Size of large content.  [default: 256; for cluster 1024]"
)
@click.option("--large", "gigabyte", is_flag=True, help="For annex: also store content of 1 GB.")
@click.option("--dir", "directory", type=click.Path(file_okay=False, exists=True), help="Where to measure.")
@prints
def bench(which: str, rounds: int, size: int | None, gigabyte: bool, directory: str | None, output: Output) -> int:
    """Compare the speed of p2pannex-shell with that of git-annex-shell.

    stdio compares p2pannex-shell on a directory store with git-annex-shell on a git-annex repository, annex compares
    both on the same git-annex repository, and cluster compares gateways of three nodes on this machine. Both are
    measured in the same run, with the same client. A ratio above 1 means that p2pannex-shell is faster.

    throttled measures a cluster whose nodes have slow connections, and compares it with the capacity of these
    connections.
    """
    import functools

    from p2pannex.testing.benchmarks.annex import run_annex
    from p2pannex.testing.benchmarks.cluster import run_cluster
    from p2pannex.testing.benchmarks.stdio import run_stdio

    if gigabyte and which != "annex":
        raise click.UsageError("--large is only for annex")

    def on_round(round_: str) -> None:
        if output.bars:
            click.echo(f"\r\x1b[K{round_} …", err=True, nl=False)

    if which == "throttled":
        from p2pannex.testing.benchmarks.throttled import run_throttled

        return _print(run_throttled(rounds=rounds, on_round=on_round), output)
    runs: dict[str, Callable[..., Comparison]] = {
        "stdio": run_stdio,
        "annex": functools.partial(run_annex, gigabyte=gigabyte),
        "cluster": run_cluster,
    }
    size = size or (1024 if which == "cluster" else 256)
    result = runs[which](rounds=rounds, large=size << 20, directory=directory, on_round=on_round)
    return _print(result, output)


def _print(result: Comparison, output: Output) -> int:
    if output.bars:
        click.echo("\r\x1b[K", err=True, nl=False)
    ours, theirs = result.columns
    head = f"{'':36}{ours:>10}{theirs:>11}{'':7}{'times':>7}{'goal':>7}"
    if not output.as_json:
        output.result(head)
    for row in result.rows:
        goal = f"{row.goal:7.2f}" if row.limit is None else f"{row.limit:4.0f} {row.unit}"
        output.result(
            f"{row.name:36}{row.p2pannex:10.2f}{row.git_annex:11.2f} {row.unit:5} {row.ratio:7.2f}{goal}"
            f"  {'reached' if row.reached else 'missed'}",
            name=row.name,
            unit=row.unit,
            **{
                name.translate(TO_FIELD_NAME): figure
                for name, figure in ((ours, row.p2pannex), (theirs, row.git_annex))
            },
            ratio=row.ratio,
            goal=row.goal,
            limit=row.limit,
            reached=row.reached,
        )
    if result.memory_p2pannex:
        output.result(
            f"{'peak memory':36}{result.memory_p2pannex / 2**20:10.1f}{result.memory_git_annex / 2**20:11.1f} MiB",
            name="peak memory",
            unit="bytes",
            p2pannex=result.memory_p2pannex,
            git_annex=result.memory_git_annex,
        )
    return exit_codes.DONE
