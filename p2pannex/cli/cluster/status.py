"""`p2pannex cluster status`: the state of the nodes of a gateway directory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import complain
from p2pannex.cli.log_lines import silence
from p2pannex.cli.options import prints
from p2pannex.cli.output import Output
from p2pannex.terminal import safe, safe_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from p2pannex.gateways.directory.node_status import ClusterStatus, NodeStatus

PAUSE = 2.0
"""Seconds between two readings."""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--watch", is_flag=True, help="Repeat every two seconds, until interrupted.")
@prints
def status(directory: str, watch: bool, output: Output) -> int:
    """Show for every node whether requests succeed, how far its clock differs from this machine's, and how many keys it
    has.

    Every node is sent the requests that a client sends to look for content and to store it. They change nothing. Keys
    can be counted only if the node is a directory of this machine. Transfers are those of all processes that serve the
    cluster from DIR on this machine.

    The exit code is 1 if a node does not reply, or a request to it fails. Standard error has one line for each.
    """
    import trio

    return trio.run(_status, directory, watch, output)


async def _status(directory: str, watch: bool, output: Output) -> int:
    from functools import partial

    import trio

    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.gateways.directory.node_status import StatusReader
    from p2pannex.urls import open_url

    silence()  # the table shows what would be logged
    async with GatewayDirectory(directory, partial(open_url, capture_stderr=True), report=False) as gateway:
        reader = StatusReader(gateway)
        if not watch:
            report = await reader.read()
            _print(report, output)
            for node in report.nodes:
                if what := node.problem or node.remark:
                    complain(f"node {node.name}: {what}")
            if warning := too_few_nodes(len(report.nodes), report.copies):
                complain(warning)
            return exit_codes.NO if any(node.problem is not None for node in report.nodes) else exit_codes.DONE
        if output.as_json or not sys.stdout.isatty():
            while True:
                _print(await reader.read(), output)
                await trio.sleep(PAUSE)
        from rich.live import Live

        with Live(_table(await reader.read()), auto_refresh=False) as live:
            while True:
                await trio.sleep(PAUSE)
                live.update(_table(await reader.read()), refresh=True)


def too_few_nodes(nodes: int, copies: int) -> str | None:
    """A warning if every upload fails because the cluster has fewer nodes than it requires copies."""
    if nodes >= copies:
        return None
    has = f"{nodes} node{'s' * (nodes != 1)}"
    return f"the cluster has {has} but requires {copies} copies: every upload fails until it has {copies} nodes"


def _row(status: NodeStatus) -> dict[str, Any]:
    """What is known about a node, by the field names that --json prints. Fields that are not known are absent."""
    row: dict[str, Any] = {"name": status.name}
    if status.node is not None:
        row |= {"uuid": status.node.uuid, "cost": status.node.cost, "limit": status.node.limit}
    if status.wanted:
        row["wanted"] = status.wanted
    if status.milliseconds is not None:
        row |= {"clock_offset": status.clock_offset, "milliseconds": status.milliseconds}
    if status.suspended is not None:
        row["suspended"] = round(status.suspended, 1)
    if status.remark:
        row["remark"] = status.remark
    if status.problem is None:
        row["keys"] = status.keys
    else:
        row["problem"] = status.problem
    return {**row, "transfers": status.transfers}


def _print(report: ClusterStatus, output: Output) -> None:
    if output.as_json:
        for node in report.nodes:
            output.result(None, **_row(node))
    elif not output.quiet:
        from rich.console import Console

        Console().print(_table(report))


def _table(report: ClusterStatus) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("node", "reply", "clock", "transfers", "keys", "cost", "uuid")
    number = report.processes
    table.caption = f"served by {number} process{'es' * (number > 1)}" if number else "no process serves it now"
    if report.copies > 1:
        table.caption += f"; at least {report.copies} copies"
    for row in map(_row, report.nodes):
        problem = row.get("problem")
        reply = Text(safe_line(problem), style="red") if problem else Text(f"{row['milliseconds']} ms", style="green")
        if "suspended" in row:
            reply.append(f"; suspended, next probe in {row['suspended']:.0f} s")
        offset = row.get("clock_offset")
        clock = "" if problem else "no deadlines" if offset is None else f"{offset:+d} s"
        limit = f" of {row['limit']}" if "limit" in row else ""
        keys = "" if problem else "unknown" if row["keys"] is None else str(row["keys"])
        cost = f"{row['cost']:g}" if "cost" in row else ""
        table.add_row(
            Text(safe(row["name"])),
            reply,
            clock,
            f"{row['transfers']}{limit}",
            keys,
            cost,
            Text(safe(row.get("uuid", ""))),
        )
    return table
