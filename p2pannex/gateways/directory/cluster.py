"""The cluster that the `p2pannex.toml` of a gateway directory describes.

::

    DIR/p2pannex.toml       its configuration (`config.py`)
    DIR/p2pannex.access     the tokens that give access over sockets
    DIR/spool/              content on its way to and from special remotes, shared by all of them
    DIR/special/UUID/       what the program of a special remote stores, including passwords
    DIR/sizes.json          how many bytes the nodes hold, if an expression depends on it (`sizes.py`)
    DIR/status/             what the processes that serve it are doing (`status.py`)
    DIR/health/             which nodes failed, for all processes that serve it (`gateways/health_files.py`)

While the cluster is served, the configuration is checked every second. Nodes that were added, changed or removed take
effect without a restart. An invalid configuration changes nothing until it is corrected.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, cast

import attrs
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.cluster import counts_as_nodes
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, NotAGateway, change, create
from p2pannex.gateways.directory.sizes import Countable, NodeSizes
from p2pannex.gateways.directory.status import StatusFile
from p2pannex.gateways.health_files import HealthFiles
from p2pannex.gateways.open_nodes import OpenNodes
from p2pannex.gateways.unavailable import Unavailable
from p2pannex.keys.key import Key
from p2pannex.service import Service
from p2pannex.stores.directory_config import config_path
from p2pannex.terminal import safe_line
from p2pannex.transports import pump

if TYPE_CHECKING:
    from p2pannex.cluster.wanted import PreferredContent
    from p2pannex.stores.external.spool import Spool
    from p2pannex.stores.external.store import ExternalStore

log = logging.getLogger(__name__)

CONFIG_INTERVAL = 1.0
"""Seconds between two checks of the configuration."""

OTHER_CONNECTIONS = 16
"""Connections to a node besides those for its transfers: for other requests, and for locks, each of which holds one."""


GATEWAY_NODE = "it is a gateway directory of this machine; name it as exec:p2pannex-shell ... or serve it on a socket"
"""The error for a cluster as a node of another cluster. One process has the tasks and connections of one cluster only,
so the inner cluster needs a process of its own."""


class OpenURL(Protocol):
    """`p2pannex.urls.open_url`, which is passed to a gateway to open its nodes. If `uuid` is None, the repository
    reports its UUID."""

    def __call__(self, url: str, /, *, uuid: str | None, timeout: float, connections: int) -> Awaitable[Service]: ...


@attrs.frozen
class _Opened:
    """A node, and the configuration that it was opened with."""

    config: NodeConfig
    node: Node


@attrs.define
class _Current:
    """The configuration in effect. The cluster and its views (`Cluster.bypassing`) share one object."""

    config: GatewayConfig
    preferred: PreferredContent | None


class GatewayDirectory(Cluster):
    """The cluster that a gateway directory describes. Its ``async with`` block opens the nodes and watches the file.

    NotAGateway if the directory is not a gateway. If a node cannot be opened, every request to it fails with the
    reason, and opening it is tried again. With `report`, other processes can see what this process is doing
    (`status.serving`).
    """

    def __init__(self, directory: str | os.PathLike[str], open_url: OpenURL, *, report: bool = True) -> None:
        config = GatewayConfig.load(directory)
        super().__init__(
            config.uuid, gateway=config.gateway, name_nodes=counts_as_nodes(config.uuid), memory=pump.blocks
        )
        self.path = os.path.abspath(directory)
        self._open_url = open_url
        self._current = _Current(config, config.preferred())
        self._sizes = NodeSizes(self.path)
        self._spool: Spool | None = None
        self._opened: dict[str, _Opened] = {}
        self._nodes = OpenNodes()
        self._seen: tuple[int, int] | None = None
        self._status = StatusFile(self.path) if report else None
        self._health = HealthFiles(os.path.join(self.path, "health"), functools.partial(os.makedirs, exist_ok=True))
        self.problems: dict[str, str] = {}
        """Nodes that could not be opened, and why."""

    @property
    def config(self) -> GatewayConfig:
        """The last configuration that was valid."""
        return self._current.config

    @property
    def copies(self) -> int:
        return self.config.copies

    def tokens_directory(self) -> bytes:
        """The directory with the tokens for its sockets."""
        return os.fsencode(self.path)

    async def check_present(self, key: Key) -> bool:
        """As in `Cluster`, but False also if some nodes do not reply and all others reply that they lack the content.

        Otherwise no new content could be stored in the cluster while one node is down, because git-annex checks first
        whether content is present. False is wrong if only nodes that did not reply have the content. This loses no
        content, because no client removes a copy for the reason that another copy is *missing*. If no node replies,
        NotAllAsked is raised as in `Cluster`.
        """
        try:
            return await super().check_present(key)
        except NotAllAsked as error:
            if not error.some_answered:
                raise
            return False

    async def choose(self, key: Key, file: bytes | None, nodes: Sequence[Node]) -> list[Node]:
        preferred = self._current.preferred
        if preferred is None:
            return await super().choose(key, file, nodes)
        chosen = await preferred.choose(key, file, nodes, self.presence, self._sizes_of)
        for node in chosen:
            if node.uuid in preferred.max_sizes:
                self._sizes.add_pending(node.uuid, key.size or 0)
        return chosen

    async def _sizes_of(self, uuids: Collection[str]) -> Mapping[str, int]:
        return await self._sizes.of(uuids, self._countable(uuids))

    def _countable(self, uuids: Collection[str]) -> dict[str, Countable]:
        nodes = [node for node in self.nodes if node.uuid in uuids and hasattr(node.service, "contents")]
        return {node.uuid: cast("Countable", node.service) for node in nodes}

    async def _count(self) -> None:
        """Keep the counts that expressions depend on up to date."""
        while True:
            preferred = self._current.preferred
            if preferred is not None and preferred.max_sizes:
                with suppress(RemoteError):  # tried again
                    await self._sizes.count(self._countable(preferred.max_sizes))
            await trio.sleep(CONFIG_INTERVAL)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.reload()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        assert self._nursery is not None
        self._nursery.start_soon(self._watch)
        self._nursery.start_soon(self._count)
        return self

    async def _watch(self) -> None:
        while True:
            await trio.sleep(CONFIG_INTERVAL)
            if self._status is not None:
                self._status.write({node.name: node.transfers for node in self.nodes if node.transfers})
            if self._health.changed():
                for node in self.nodes:
                    node.refresh()
            if _stamp(self.path) != self._seen or self.problems:
                try:
                    await self.reload()
                except NotAGateway:
                    continue

    async def reload(self) -> None:
        """Open and close nodes to match the configuration. NotAGateway if the configuration is invalid."""
        assert self._nursery is not None
        self._seen = _stamp(self.path)  # before reading, so that the next check notices a change made meanwhile
        config = GatewayConfig.load(self.path)
        self._current.config, self._current.preferred = config, config.preferred()
        for name, opened in list(self._opened.items()):
            wanted = config.nodes.get(name)
            if wanted is not None and wanted.opened_alike(opened.config):
                opened.node.cost = wanted.cost
            else:
                self._remove_node(name)
        before, self.problems = self.problems, {}
        for name, wanted in config.nodes.items():
            known = self._opened.get(name)
            if known is not None and not isinstance(known.node.service, Unavailable):
                continue
            try:
                node = await self._open(name, wanted)
                await self._nodes.open(node, self._nursery)
            except (RemoteError, ConnectionLost) as error:
                problem = self.problems[name] = str(error)
                if before.get(name) != problem:
                    log.warning("node %s cannot be opened: %s", name, safe_line(problem))
                node = Node(name, Unavailable(wanted.uuid, problem), cost=wanted.cost)
            else:
                node.health.memory = self._health.of(node.uuid, opened_with=wanted.opened_with)
                if name in before:
                    log.warning("node %s was opened", name)
            if known is not None:
                self._remove_node(name)
            self._opened[name] = _Opened(wanted, node)
            self.add(node)

    def _remove_node(self, name: str) -> None:
        node = self._opened.pop(name).node
        self.discard(node)
        if not isinstance(node.service, Unavailable):
            self._nodes.leave(node)

    async def _open(self, name: str, config: NodeConfig) -> Node:
        if config.external:
            # Imported here: few clusters need it, and clients wait for imports.
            from p2pannex.gateways.special_nodes import SpecialNode

            store = self._special(name, config)
            return SpecialNode(name, store, cost=config.cost, limit=config.transfers)
        connections = config.transfers + OTHER_CONNECTIONS
        service = await self._open_url(config.url, uuid=config.uuid, timeout=config.timeout, connections=connections)
        if isinstance(service, Cluster):
            raise RemoteError(GATEWAY_NODE)
        if service.uuid != config.uuid:
            await service.aclose()
            raise RemoteError(f"it is repository {service.uuid}, not {config.uuid}")
        return Node(name, service, cost=config.cost, timeout=config.timeout, limit=config.transfers)

    def _special(self, name: str, config: NodeConfig) -> ExternalStore:
        from p2pannex.stores.external.spool import Spool

        if self._spool is None:
            self._spool = Spool(os.path.join(self.path, "spool"), disk_reserve=self.config.disk_reserve)
        return special_remote(self.path, name, config, self._spool)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probes.stop()
        await self._nodes.close()
        if self._status is not None:
            self._status.close()
        await super().__aexit__(kind, error, trace)


def special_remote(directory: str, name: str, config: NodeConfig, spool: Spool) -> ExternalStore:
    """The special remote of the node `name` of a gateway directory. RemoteError if there is no such program."""
    from p2pannex.stores.external.store import ExternalStore

    return ExternalStore(
        config.uuid,
        config.external,
        config.settings,
        spool,
        special_state(directory, config),
        name=name,
        concurrency=config.transfers,
        timeout=config.timeout,
    )


def special_state(directory: str, config: NodeConfig) -> str:
    """The directory in which the program of a special remote stores its settings."""
    return os.path.join(directory, "special", config.uuid)


def _stamp(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(config_path(os.fsencode(directory)))
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


__all__ = [
    "GatewayConfig",
    "GatewayDirectory",
    "NodeConfig",
    "NotAGateway",
    "OpenURL",
    "change",
    "create",
    "special_remote",
    "special_state",
]
