"""Opens a node: makes a Service of a remote in the git config. The Service connects at its first request.

A repository on this machine is opened as a store. A repository elsewhere becomes a `Remote`, which connects over ssh as
git-annex does, or over a P2P network with the token that git-annex stores. `special` opens special remotes.

A remote that cannot be opened becomes an `Unavailable`, which fails every request with the reason. It is not left out:
content on it cannot be removed from the cluster, and a client would rely on a reply that says otherwise. Modules that
only one kind of remote needs are imported when such a remote is opened, because clients wait for imports.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from p2pannex.child_environment import git_environment
from p2pannex.cluster import Node
from p2pannex.errors import RemoteError
from p2pannex.gateways.repository.rules import Route
from p2pannex.gateways.unavailable import Unavailable
from p2pannex.git_annex.config import AnnexConfig, looks_like_git
from p2pannex.git_annex.remotes import GitRemote
from p2pannex.service import Service

if TYPE_CHECKING:
    from p2pannex.p2p.peer import Peer
    from p2pannex.system.disk_work import DiskWork
    from p2pannex.url_syntax import SshURL

COST_TIMEOUT = 10.0
"""Seconds that an annex-cost-command may take."""

SSH_SCHEMES = ("ssh://", "git+ssh://", "ssh+git://")


def node_of(name: str, service: Service, cost: float, via: Iterable[str]) -> Node:
    """A node of a cluster with this Service. Special remotes become nodes that share an upload."""
    if "p2pannex.stores.external.store" in sys.modules:
        from p2pannex.gateways.special_nodes import SpecialNode
        from p2pannex.stores.external.store import ExternalStore

        if isinstance(service, ExternalStore):
            return SpecialNode(name, service, cost=cost)
    return Node(name, service, cost=cost, via=via)


async def open_route(
    route: Route, config: AnnexConfig, uuid: str | None = None, *, disk_work: DiskWork | None = None
) -> Service:
    """Open `route` from the repository of `config` as a Service. The caller closes it.

    `uuid` is the repository to request behind a gateway, if it is not the route's own: the cluster. `disk_work` says
    how a store on this machine waits for the disk. If the route cannot be opened, the result is an `Unavailable`.
    """
    uuid = uuid or route.uuid
    try:
        if route.remote.url is None:
            from p2pannex.gateways.repository.special import open_special

            return await trio.to_thread.run_sync(open_special, route.remote, uuid, config)
        path = route.remote.path
        if path is None:
            return await _open_remote(route.remote.url, route.remote, uuid, config)
        if route.gateway is not None:
            raise RemoteError(f"the gateway {route.remote.name} is on this machine; give it an ssh:// url")
        return await _open_store(os.path.join(_top(config), os.path.expanduser(path)), uuid, disk_work)
    except RemoteError as error:
        return Unavailable(uuid, str(error))


async def _open_remote(url: str, remote: GitRemote, uuid: str, config: AnnexConfig) -> Service:
    from p2pannex.p2p.dial import dialer
    from p2pannex.p2p.peer import PEER_TIMEOUT
    from p2pannex.p2p.remote import Remote
    from p2pannex.url_syntax import InvalidURL, NetworkURL, SshURL, parse_url, scp_like

    like_scp = scp_like(url) if "://" not in url and "::" not in url.partition("[")[0] else None
    parsed = like_scp or parse_url(_as_ssh_url(url))
    if isinstance(parsed, SshURL):
        settings = {**remote.settings, "annex-ssh-options": _ssh_settings(remote, config)}
        return Remote(functools.partial(_dial_ssh, parsed, settings, config.uuid, uuid), uuid)
    if isinstance(parsed, NetworkURL):
        from p2pannex.git_annex.creds import kept_token
        from p2pannex.protocol.messages import Auth

        token = await trio.to_thread.run_sync(kept_token, config.git_dir, parsed.net, parsed.address)
        dial = dialer(parsed, client_uuid=config.uuid, timeout=PEER_TIMEOUT, capture_stderr=False)
        return Remote(dial, uuid, credentials=None if token is None else Auth(config.uuid, token))
    raise InvalidURL(f"{url} cannot be a node here; use a path, ssh:// or p2p-annex::")


def _ssh_settings(remote: GitRemote, config: AnnexConfig) -> str:
    return remote.settings.get("annex-ssh-options") or config.values.get("annex.ssh-options") or ""


def _top(config: AnnexConfig) -> str:
    """The directory that the paths of remotes are relative to."""
    return os.fsdecode(config.top)


async def _open_store(path: str, uuid: str, disk_work: DiskWork | None) -> Service:
    open_it: Callable[[], Service]
    if looks_like_git(os.fsencode(path)):
        from p2pannex.stores.annex.store import AnnexStore

        open_it = functools.partial(AnnexStore, path, disk_work=disk_work)
    else:
        from p2pannex.stores.opening import open_directory

        open_it = functools.partial(open_directory, path, disk_work=disk_work)
    store = await trio.to_thread.run_sync(open_it)
    if store.uuid != uuid:
        await store.aclose()
        raise RemoteError(f"the repository in {path} is {store.uuid}, not {uuid}")
    return store


def _as_ssh_url(url: str) -> str:
    """Convert other schemes that git also takes as ssh to ssh://. Other URLs are returned unchanged."""
    for scheme in SSH_SCHEMES:
        if url.startswith(scheme):
            return "ssh://" + url.removeprefix(scheme)
    return url


async def _dial_ssh(url: SshURL, settings: Mapping[str, str], client_uuid: str, uuid: str) -> Peer:
    from p2pannex.p2p.dial import open_ssh_peer

    return await open_ssh_peer(
        url.host,
        url.directory,
        port=url.port,
        user=url.user,
        uuid=uuid,
        client_uuid=client_uuid,
        shell=settings.get("annex-shell"),
        options=_ssh_options(settings),
    )


def _ssh_options(settings: Mapping[str, str]) -> list[str]:
    try:
        return shlex.split(settings.get("annex-ssh-options", ""))
    except ValueError as error:
        raise RemoteError(f"annex-ssh-options: {str(error).lower()}") from error


async def cost_of(remote: GitRemote) -> float:
    """The cost of the remote: the number that annex-cost-command prints, or its annex-cost if that prints none."""
    command = remote.settings.get("annex-cost-command")
    if not command:
        return remote.cost
    with trio.move_on_after(COST_TIMEOUT):
        try:
            done = await trio.run_process(
                ["sh", "-c", command],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
                env=git_environment(),
            )
            cost = float(done.stdout)
        except (OSError, ValueError):
            return remote.cost
        if done.returncode == 0 and 0 <= cost < 1e9:
            return cost
    return remote.cost


__all__ = ["Unavailable", "cost_of", "node_of", "open_route"]
