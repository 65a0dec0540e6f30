"""`p2pannex init` and `p2pannex info`: make a directory store, and describe a repository."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from p2pannex.cli.options import URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output
from p2pannex.terminal import safe

if TYPE_CHECKING:
    from p2pannex.service import Service


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--uuid", metavar="UUID", help="The store's UUID, instead of a new one.")
@prints
def init(directory: str, uuid: str | None, output: Output) -> None:
    """Make a directory store and print its UUID.

    DIR is created if it does not exist. The store needs no git.
    """
    from p2pannex.stores.directory import DirectoryStore

    store = DirectoryStore.create(directory, uuid=uuid)
    output.result(store.uuid, uuid=store.uuid, path=os.fsdecode(store.path))


@click.command()
@click.argument("url", type=URL)
@connects
@prints
def info(url: str, connection: ConnectionOptions, output: Output) -> None:
    """Print what is known about a repository.

    For a directory store or a git-annex repository on this machine, this includes how much it holds. To count that, all
    of its directories are read.
    """
    import trio

    facts = trio.run(_facts, url, connection)
    width = max(map(len, facts)) + 2
    text = "\n".join(f"{name + ':':{width}}{safe(str(value))}" for name, value in facts.items())
    output.result(text, **{name.replace(" ", "_"): value for name, value in facts.items()})


async def _facts(url: str, connection: ConnectionOptions) -> dict[str, Any]:
    import trio

    from p2pannex.errors import Unsupported
    from p2pannex.gateways.directory.cluster import GatewayDirectory
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore
    from p2pannex.stores.trusted_directories import is_trusted

    async with connection.open(url) as service:
        facts: dict[str, Any] = {"uuid": service.uuid, "kind": _kind(service)}
        if isinstance(service, GatewayDirectory):
            facts["path"] = service.path
            facts["trusted"] = "yes" if is_trusted(service.path) else "no"
        if isinstance(service, DirectoryStore | AnnexStore):
            contents = await trio.to_thread.run_sync(service.contents, abandon_on_cancel=True)
            facts["path"] = os.fsdecode(service.path)
            facts["keys"] = contents.keys
            facts["bytes"] = contents.bytes
            facts["partials"] = contents.partials
            facts["partial bytes"] = contents.partial_bytes
        try:
            await service.timestamp()
        except Unsupported:
            facts["removal deadlines"] = "no"
        else:
            facts["removal deadlines"] = "yes"
        if (copies := getattr(service, "copies", None)) is not None:
            facts["copies"] = copies
        return facts


def _kind(service: Service) -> str:
    from p2pannex.p2p.remote import Remote
    from p2pannex.stores.annex.store import AnnexStore
    from p2pannex.stores.directory import DirectoryStore

    if isinstance(service, DirectoryStore):
        return "directory store"
    if isinstance(service, AnnexStore):
        return "git-annex repository"
    return "remote" if isinstance(service, Remote) else "gateway directory"
