"""`p2pannex remove`."""

from __future__ import annotations

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.content import each
from p2pannex.cli.options import KEY, URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output
from p2pannex.keys.key import Key


@click.command()
@click.argument("url", type=URL)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, type=KEY)
@click.option(
    "--while-locked-on",
    "holder",
    type=URL,
    metavar="URL",
    help="Remove only what this other repository has, and is kept from removing meanwhile.",
)
@click.option(
    "--holder-token",
    envvar="P2PANNEX_HOLDER_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="The token for the repository of --while-locked-on, if it is another.",
)
@connects
@prints
def remove(
    url: str,
    keys: tuple[Key, ...],
    holder: str | None,
    holder_token: str | None,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    """Remove content.

    Exit code 1 if any was refused. Nothing is asked about other copies unless --while-locked-on says where one is: a
    plain remove can remove the last. Content that is not there counts as removed.
    """
    import trio

    return trio.run(_remove, url, keys, holder, holder_token, connection, output)


async def _remove(
    url: str,
    keys: tuple[Key, ...],
    holder_url: str | None,
    holder_token: str | None,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    from p2pannex.service import Removal
    from p2pannex.transfer.drop import remove_while_locked

    def tell(key: Key, removal: Removal) -> int:
        fields = {"key": str(key), "removed": removal.ok, "uuids": sorted(removal.uuids)}
        if removal.ok:
            output.result(b"removed " + key.raw, **fields)
            return exit_codes.DONE
        return output.problem(
            exit_codes.NO, f"{key} was not removed: it is locked there, or time was up; try again later", **fields
        )

    async with connection.open(url) as target:
        if holder_url is None:

            async def remove_one(key: Key) -> int:
                return tell(key, await target.remove(key))

            return await each(keys, remove_one, output, "key")
        async with connection.open(holder_url, token=holder_token) as holder:

            async def remove_one_safely(key: Key) -> int:
                return tell(key, await remove_while_locked(key, target=target, holder=holder))

            return await each(keys, remove_one_safely, output, "key")
