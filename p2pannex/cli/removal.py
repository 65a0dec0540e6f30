"""`p2pannex remove`: remove content, optionally only while another repository has a locked copy."""

from __future__ import annotations

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.content import each, log_nothing_of
from p2pannex.cli.options import KEY, URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output
from p2pannex.keys.key import Key

UNKNOWN_REASON = "the repository gave no reason; usually it is locked there"
"""The protocol's FAILURE has no reason. p2pannex-shell writes it on its standard error, which is read if it is captured
(`Peer.remarks`); on a terminal, the user has seen it already."""


@click.command()
@click.argument("url", type=URL)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, type=KEY)
@click.option(
    "--while-locked-on",
    "holder",
    type=URL,
    metavar="URL",
    help="Remove only content that this other repository has, and only while it is locked there. The lock proves that "
    "the other copy is there and is kept, not that its disk has not damaged it: see --verify.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="With --while-locked-on: first read the other copy, and compare its hash with the key. A store on this "
    "machine is read in place; from another repository the content is fetched.",
)
@click.option(
    "--holder-token",
    envvar="P2PANNEX_HOLDER_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="The token for the repository of --while-locked-on.",
)
@connects
@prints
def remove(
    url: str,
    keys: tuple[Key, ...],
    holder: str | None,
    verify: bool,
    holder_token: str | None,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    """Remove content.

    Without --while-locked-on, other copies are not checked: the last copy can be removed. Content that is not present
    counts as removed. The exit code is 1 if any removal was refused.
    """
    import trio

    if verify and holder is None:
        raise click.UsageError("--verify needs --while-locked-on: it verifies the other copy")
    return trio.run(_remove, url, keys, holder, verify, holder_token, connection, output)


async def _remove(
    url: str,
    keys: tuple[Key, ...],
    holder_url: str | None,
    verify: bool,
    holder_token: str | None,
    connection: ConnectionOptions,
    output: Output,
) -> int:
    from p2pannex.service import Removal
    from p2pannex.transfer.drop import remove_while_locked

    def report(key: Key, removal: Removal) -> int:
        fields = {"key": str(key), "removed": removal.ok, "uuids": sorted(removal.uuids)}
        if removal.ok:
            output.result(b"removed " + key.raw, **fields)
            return exit_codes.DONE
        return output.problem(
            exit_codes.NO,
            f"{key} was not removed: {removal.reason or UNKNOWN_REASON}",
            **fields,
        )

    async with connection.open(url) as target:
        log_nothing_of(target)
        if holder_url is None:

            async def remove_one(key: Key) -> int:
                return report(key, await target.remove(key))

            return await each(keys, remove_one, output, "key")
        async with connection.open(holder_url, token=holder_token) as holder:

            async def remove_one_safely(key: Key) -> int:
                return report(key, await remove_while_locked(key, target=target, holder=holder, verify=verify))

            return await each(keys, remove_one_safely, output, "key")
