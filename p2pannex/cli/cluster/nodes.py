"""What `p2pannex cluster add` finds out of a repository before it is a node."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from p2pannex.gateways.directory.config import NodeConfig


def argv_of(command: str) -> tuple[str, ...]:
    """The command line of a special remote's program."""
    try:
        argv = tuple(shlex.split(command))
    except ValueError as error:
        raise click.UsageError(f"--external: {str(error).lower()}") from error
    if not argv:
        raise click.UsageError("--external: which program?")
    if os.path.dirname(argv[0]):
        argv = (os.path.abspath(argv[0]), *argv[1:])  # the gateway may be served from anywhere
    return argv


def absolute(url: str) -> str:
    """A URL that means the same wherever it is opened. RemoteError for a gateway directory."""
    from p2pannex.errors import RemoteError
    from p2pannex.gateways.directory.cluster import GATEWAY_NODE
    from p2pannex.stores.directory_config import is_gateway
    from p2pannex.url_syntax import DirectoryURL, parse_url

    if not isinstance(parse_url(url), DirectoryURL):
        return url
    if is_gateway(os.fsencode(url)):
        raise RemoteError(f"{url}: {GATEWAY_NODE}")
    return os.path.abspath(url)  # the gateway may be served from anywhere


async def uuid_of(url: str, timeout: float) -> str:
    """Which repository a URL leads to, by asking."""
    from p2pannex.urls import open_url

    async with await open_url(url, timeout=timeout) as service:
        return service.uuid


async def ask_special(directory: str, name: str, node: NodeConfig) -> int | None:
    """Have the special remote set up, with whatever passwords are in our environment; what it costs."""
    from p2pannex.gateways.directory.cluster import special_remote, special_state
    from p2pannex.stores.external.spool import Spool

    directory = os.path.abspath(directory)
    state = special_state(directory, node)
    known = os.path.exists(state)
    try:
        async with special_remote(directory, name, node, Spool(os.path.join(directory, "spool"))) as store:
            return await store.cost()
    except BaseException:
        if not known:
            shutil.rmtree(state, ignore_errors=True)
        raise
