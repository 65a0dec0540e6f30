"""`p2pannex cluster status`: how the nodes of a gateway directory are doing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from p2pannex.cluster import Node
    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.service import Service

PAUSE = 2.0
"""Seconds between two looks."""

RECOUNT = 60.0
"""Seconds between two counts of keys, for which every directory of a store is read."""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--watch", is_flag=True, help="Look again every two seconds, until interrupted.")
@prints
def status(directory: str, watch: bool, output: Output) -> int:
    """Ask every node how it is: whether it answers, how far its clock is from ours, how many keys it holds.

    Keys can be counted where the node is a directory of this machine. Transfers are those of all processes that serve
    the cluster from DIR on this machine.

    Exit code 0 if all answer, 1 if one does not.
    """
    import trio

    return trio.run(_status, directory, watch, output)


async def _status(directory: str, watch: bool, output: Output) -> int:
    import trio

    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.urls import open_url

    async with GatewayDirectory(directory, open_url, report=False) as gateway:
        keys = _Keys()
        if not watch:
            report = await _look(gateway, keys)
            _print(report, output)
            return exit_codes.NO if any("problem" in row for row in report["nodes"]) else exit_codes.DONE
        if output.as_json or not sys.stdout.isatty():
            while True:
                _print(await _look(gateway, keys), output)
                await trio.sleep(PAUSE)
        from rich.live import Live

        with Live(_table(await _look(gateway, keys)), auto_refresh=False) as live:
            while True:
                await trio.sleep(PAUSE)
                live.update(_table(await _look(gateway, keys)), refresh=True)


class _Keys:
    """How many keys the nodes hold, counted now and then."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[float, int]] = {}

    async def of(self, node: Node) -> int | None:
        """None where the node cannot tell: the protocol has no word for it."""
        import trio

        before, keys = self._counted.get(node.uuid, (-RECOUNT, 0))
        if trio.current_time() - before >= RECOUNT:
            count = getattr(node.service, "contents", None)
            if count is None:
                return None
            keys = (await trio.to_thread.run_sync(count)).keys
            self._counted[node.uuid] = trio.current_time(), keys
        return keys


async def _look(gateway: GatewayDirectory, keys: _Keys) -> dict[str, Any]:
    import trio

    from p2pannex.gateways.directory.status import serving

    processes = serving(gateway.path)
    rows: list[dict[str, Any]] = [{"name": name, "problem": problem} for name, problem in gateway.problems.items()]
    async with trio.open_nursery() as nursery:
        for node in gateway.nodes:
            if node.name in gateway.problems:
                continue
            nursery.start_soon(_look_at, node, gateway, keys, rows)
    for row in rows:
        row["transfers"] = sum(process.transfers.get(row["name"], 0) for process in processes)
    rows.sort(key=lambda row: str(row["name"]))
    return {"nodes": rows, "processes": len(processes)}


async def _look_at(node: Node, gateway: GatewayDirectory, keys: _Keys, rows: list[dict[str, Any]]) -> None:
    from p2pannex.errors import ConnectionLost, RemoteError

    config = gateway.config.nodes.get(node.name)
    row: dict[str, Any] = {"name": node.name, "uuid": node.uuid, "cost": node.cost, "limit": node.limit}
    if config is not None and config.wanted:  # it may have been taken away in this moment
        row["wanted"] = config.wanted
    began = time.perf_counter()
    try:
        row["clock_offset"] = await node.ask(_clock_offset, node.service, gateway)
        row["milliseconds"] = round(1000 * (time.perf_counter() - began), 1)
        row["keys"] = await keys.of(node)
    except (RemoteError, ConnectionLost) as error:
        row["problem"] = str(error)
    rows.append(row)


async def _clock_offset(service: Service, gateway: GatewayDirectory) -> int | None:
    """How far the node's clock is from ours; None where it has none to go by. RemoteError where it does not answer."""
    from p2pannex.errors import Unsupported
    from p2pannex.stores.external.store import ExternalStore

    if isinstance(service, ExternalStore):  # its clock is ours: ask the program something instead
        await service.availability()
        return 0
    try:
        return await service.timestamp() - int(gateway.clock.monotonic())
    except Unsupported:
        return None


def _print(report: Mapping[str, Any], output: Output) -> None:
    if output.as_json:
        for row in report["nodes"]:
            output.result(None, **row)
    elif not output.quiet:
        from rich.console import Console

        Console().print(_table(report))


def _table(report: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("node", "answers", "clock", "transfers", "keys", "cost", "uuid")
    number = report["processes"]
    table.caption = f"served by {number} process{'es' * (number > 1)}" if number else "nobody serves it now"
    for row in report["nodes"]:
        problem = row.get("problem")
        answers = Text(str(problem), style="red") if problem else Text(f"{row['milliseconds']} ms", style="green")
        offset = row.get("clock_offset")
        clock = "" if problem else "no deadlines" if offset is None else f"{offset:+d} s"
        limit = f" of {row['limit']}" if "limit" in row else ""
        keys = "" if problem else "unknown" if row["keys"] is None else str(row["keys"])
        cost = f"{row['cost']:g}" if "cost" in row else ""
        table.add_row(
            Text(str(row["name"])), answers, clock, f"{row['transfers']}{limit}", keys, cost, str(row.get("uuid", ""))
        )
    return table
