"""`p2pannex cluster`: a gateway directory, its nodes, and how they are doing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import URL, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from p2pannex.cluster import Node
    from p2pannex.service import Clock

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))


@click.group()
def cluster() -> None:
    """Make many repositories one: a gateway directory, and its nodes.

    Serve it as any repository: `p2pannex-shell` over ssh, or `p2pannex put DIR ...` and its like on this machine.
    """


@cluster.command()
@DIRECTORY
@click.option("--name", required=True, help="The cluster's name.")
@click.option("--uuid", metavar="UUID", help="The cluster's UUID, instead of a new one.")
@prints
def init(directory: str, name: str, uuid: str | None, output: Output) -> None:
    """Make a gateway directory for a new cluster, and print the cluster's UUID."""
    from p2pannex.gateway_directory import create

    config = create(directory, name, uuid=uuid)
    output.result(config.uuid, uuid=config.uuid, gateway=config.gateway, path=os.path.abspath(directory))


@cluster.command()
@DIRECTORY
@click.argument("name")
@click.argument("url", type=URL)
@click.option("--cost", type=click.FloatRange(min=0), default=100.0, show_default=True, help="Cheaper ones first.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds.")
@prints
def add(directory: str, name: str, url: str, cost: float, timeout: float, output: Output) -> None:
    """Add a node, which has to answer now. Gateways that are running take it up within a second."""
    import attrs
    import trio

    from p2pannex.gateway_directory import GatewayConfig, NodeConfig
    from p2pannex.protocol.errors import RemoteError
    from p2pannex.urls import DirectoryURL, parse_url

    config = GatewayConfig.load(directory)
    if not name.isprintable() or not name.strip():
        raise click.UsageError("a node's name is one line of text")
    if name in config.nodes:
        raise RemoteError(f"there is a node {name} already; p2pannex cluster remove {directory} {name} takes it away")
    if isinstance(parse_url(url), DirectoryURL):
        url = os.path.abspath(url)  # the gateway may be served from anywhere
    uuid = trio.run(_uuid_of, url, timeout)
    for other, node in config.nodes.items():
        if node.uuid == uuid:
            raise RemoteError(f"{url} is the same repository as node {other}")
    if uuid in (config.uuid, config.gateway):
        raise RemoteError("a cluster cannot be a node of itself")
    nodes = {**config.nodes, name: NodeConfig(uuid, url, cost, timeout)}
    attrs.evolve(config, nodes=nodes).save(directory)
    output.result(uuid, name=name, uuid=uuid, url=url)


async def _uuid_of(url: str, timeout: float) -> str:
    from p2pannex.urls import open_url

    async with await open_url(url, timeout=timeout) as service:
        return service.uuid


@cluster.command()
@DIRECTORY
@click.argument("name")
@prints
def remove(directory: str, name: str, output: Output) -> None:
    """Take a node out of the cluster. Its content stays where it is."""
    import attrs

    from p2pannex.gateway_directory import GatewayConfig
    from p2pannex.protocol.errors import RemoteError

    config = GatewayConfig.load(directory)
    if name not in config.nodes:
        raise RemoteError(f"there is no node {name}; there are: {', '.join(config.nodes) or 'none'}")
    nodes = {other: node for other, node in config.nodes.items() if other != name}
    attrs.evolve(config, nodes=nodes).save(directory)
    output.result(None, name=name)


@cluster.command()
@DIRECTORY
@click.option("--watch", is_flag=True, help="Look again every two seconds, until interrupted.")
@prints
def status(directory: str, watch: bool, output: Output) -> int:
    """Ask every node how it is: whether it answers, and how far its clock is from ours.

    Exit code 0 if all answer, 1 if one does not.
    """
    import trio

    return trio.run(_status, directory, watch, output)


async def _status(directory: str, watch: bool, output: Output) -> int:
    import trio

    from p2pannex.gateway_directory import GatewayDirectory
    from p2pannex.urls import open_url

    async with GatewayDirectory(directory, open_url) as gateway:
        while True:
            rows: list[dict[str, Any]] = [
                {"name": name, "problem": problem} for name, problem in gateway.problems.items()
            ]
            async with trio.open_nursery() as nursery:
                for node in gateway.nodes:
                    nursery.start_soon(_look_at, node, gateway.clock, rows)
            rows.sort(key=lambda row: str(row["name"]))
            _show(rows, output)
            if not watch:
                return exit_codes.NO if any("problem" in row for row in rows) else exit_codes.DONE
            await trio.sleep(2)


async def _look_at(node: Node, clock: Clock, rows: list[dict[str, Any]]) -> None:
    import time

    from p2pannex.protocol.errors import ConnectionLost, RemoteError, Unsupported

    row: dict[str, Any] = {"name": node.name, "uuid": node.uuid, "cost": node.cost}
    began = time.perf_counter()
    try:
        theirs = await node.ask(node.service.timestamp)
        row["clock_offset"] = theirs - int(clock.monotonic())
    except Unsupported:
        row["clock_offset"] = None
    except (RemoteError, ConnectionLost) as error:
        row["problem"] = str(error)
    row["milliseconds"] = round(1000 * (time.perf_counter() - began), 1)
    rows.append(row)


def _show(rows: list[dict[str, Any]], output: Output) -> None:
    if output.as_json:
        for row in rows:
            output.result(None, **row)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("node", "answers", "clock", "cost", "uuid")
    for row in rows:
        problem = row.get("problem")
        answers = Text(str(problem), style="red") if problem else Text(f"{row['milliseconds']} ms", style="green")
        offset = row.get("clock_offset")
        clock = "" if problem else "no deadlines" if offset is None else f"{offset:+d} s"
        cost = f"{row['cost']:g}" if "cost" in row else ""
        table.add_row(Text(str(row["name"])), answers, clock, cost, str(row.get("uuid", "")))
    Console().print(table)
