"""Adds a node to a gateway directory, after requests to the node have succeeded.

The configuration identifies a node by the UUID of its repository. Before `add_node` writes the configuration, it gets
this UUID from the repository, or sets up the special remote, and tries requests (`trial`). A node that fails at them is
not added, unless the caller forces it.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable

import attrs
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.directory.cluster import GATEWAY_NODE, OpenURL, special_remote, special_state
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, change
from p2pannex.gateways.directory.trial import try_requests, try_storing
from p2pannex.stores.directory_config import is_gateway, new_uuid
from p2pannex.stores.external.spool import Spool
from p2pannex.url_syntax import DirectoryURL, InvalidURL, parse_url

Inform = Callable[[str], object]


async def add_node(
    directory: str | os.PathLike[str],
    name: str,
    node: NodeConfig,
    open_url: OpenURL,
    *,
    reported_cost: bool = False,
    force: bool = False,
    inform: Inform = lambda remark: None,
) -> NodeConfig:
    """Add `node` to the gateway directory as `name`. Returns the node as it is in the configuration now.

    `node` is either a URL or a special remote (`external`, with its `settings`). A relative path, of a directory or of
    the special remote's program, is made absolute, because the gateway may be served from another directory.

    `node.uuid` may be empty. For a URL, `open_url` (`p2pannex.urls.open_url`) opens the repository, which reports its
    UUID; if `node.uuid` is given, it must be the same. A special remote is set up now (`set_up_special`), with a new
    UUID if none is given. With `reported_cost`, the cost that its program reports replaces `node.cost`.

    Then requests are tried. With `force`, the node is added even if it cannot be reached or does not work now; for a
    URL that cannot be opened, `node.uuid` must be given then. `inform` is called with remarks for people, one line
    each: what does not work.

    A gateway that is running opens the node within a second.

    If an error is raised, the configuration is unchanged:

    - RemoteError if the name is taken or is not one line of text; if the repository is a node already, is the cluster
      itself, or is a gateway directory of this machine; if a setting is invalid; and, without `force`, if the special
      remote cannot be set up, or a request fails.
    - ConnectionLost, without `force`, if a remote repository cannot be reached.
    - ValueError if `node` has both a URL and a special remote, or neither.
    """
    check_node_name(name)
    if node.url and node.external:
        raise ValueError("a node is either a URL or a special remote")
    directory = os.fspath(directory)
    try:
        _with_new(GatewayConfig.load(directory), directory, name, node).preferred()
    except ValueError as error:
        raise RemoteError(str(error)) from error
    if node.external:
        what = shlex.join(node.external)
        node = attrs.evolve(node, uuid=new_uuid(node.uuid or None), external=_absolute_program(node.external))
        try:
            cost = await set_up_special(directory, name, node, inform)
        except (RemoteError, ConnectionLost) as error:
            if not force:
                raise
            inform(f"it does not work now: {error}")
        else:
            if reported_cost and cost is not None:
                node = attrs.evolve(node, cost=float(cost))
    else:
        what = _absolute_url(node.url)
        uuid = await _uuid_at(what, node, open_url, inform, force=force)
        node = attrs.evolve(node, uuid=uuid, url=what)

    def edit(config: GatewayConfig) -> GatewayConfig:
        for other, known in config.nodes.items():
            if known.uuid == node.uuid and other != name:
                raise RemoteError(f"{what} is the same repository as node {other}")
        if node.uuid in (config.uuid, config.gateway):
            raise RemoteError("a cluster cannot be a node of itself")
        return _with_new(config, directory, name, node)

    await trio.to_thread.run_sync(change, directory, edit)
    return node


async def set_up_special(
    directory: str | os.PathLike[str], name: str, node: NodeConfig, inform: Inform = lambda remark: None
) -> int | None:
    """Have the program of a special remote set it up, and try requests. Returns the cost that the program reports, or
    None.

    The program gets this process's environment, from which most programs read passwords. It stores its state in the
    directory `special_state`. RemoteError if there is no such program, or if the program reports a failure. After an
    error the state is removed, unless it existed before. `inform` is that of `add_node`.
    """
    directory = os.path.abspath(directory)
    state = special_state(directory, node)
    known = os.path.exists(state)
    try:
        async with special_remote(directory, name, node, Spool(os.path.join(directory, "spool"))) as store:
            cost = await store.cost()
            remark = await try_requests(store) or await try_storing(store)
            if remark:
                inform(remark)
            return cost
    except BaseException:
        if not known:
            shutil.rmtree(state, ignore_errors=True)
        raise


def check_node_name(name: str) -> None:
    """RemoteError if `name` cannot be the name of a node."""
    if not name.isprintable() or not name.strip():
        raise RemoteError("a node's name is one line of text")


def _with_new(config: GatewayConfig, directory: str, name: str, node: NodeConfig) -> GatewayConfig:
    if name in config.nodes:
        raise RemoteError(f"there is a node {name} already; choose another name")
    return config.with_node(name, node)


async def _uuid_at(url: str, node: NodeConfig, open_url: OpenURL, inform: Inform, *, force: bool) -> str:
    """The UUID of the repository, at which requests have succeeded. With `force`, they need not."""
    uuid = ""
    try:
        async with await open_url(url, uuid=None, timeout=node.timeout, connections=1) as service:
            uuid = service.uuid
            if node.uuid in ("", uuid) and (remark := await try_requests(service)):
                inform(remark)
    except InvalidURL:
        raise
    except (RemoteError, ConnectionLost) as error:
        if not force:
            raise
        uuid = uuid or node.uuid
        if not uuid:
            raise RemoteError(f"{error}; it can be added only if you give its UUID (--uuid)") from error
        inform(f"it does not work now: {error}")
    if node.uuid not in ("", uuid):
        raise RemoteError(f"{url} is repository {uuid}, not {node.uuid}")
    return uuid


def _absolute_url(url: str) -> str:
    if not isinstance(parse_url(url), DirectoryURL):
        return url
    if is_gateway(os.fsencode(url)):
        raise RemoteError(f"{url}: {GATEWAY_NODE}")
    return os.path.abspath(url)


def _absolute_program(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command line, with the program's path absolute. A program without a path is looked for on the PATH."""
    return (os.path.abspath(argv[0]), *argv[1:]) if os.path.dirname(argv[0]) else argv


__all__ = ["add_node", "check_node_name", "set_up_special"]
