"""A cluster without git: a gateway directory, whose `p2pannex.toml` names the nodes.

::

    uuid = "..."                       # the cluster's
    gateway = "..."                    # the gateway's own
    cluster = "family"

    [nodes.attic]
    uuid = "..."
    url = "ssh://attic/srv/annex"
    cost = 200.0

The file is looked at again every second while the cluster is served: a node that was added, changed or removed takes
effect without a restart. A file that makes no sense at that moment changes nothing.
"""

from __future__ import annotations

import json
import os
import uuid as uuid_module
from collections.abc import Awaitable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import attrs
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.gateway import counts_as_nodes
from p2pannex.cluster.node import COST, TIMEOUT
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.service import Service
from p2pannex.stores.durability import replace_file
from p2pannex.stores.identity import checked_uuid, config_path, read_config

LOOK = 1.0
"""Seconds between two looks at the configuration."""


class OpenURL(Protocol):
    """`p2pannex.urls.open_url`, which a gateway is given to open its nodes with."""

    def __call__(self, url: str, /, *, uuid: str, timeout: float) -> Awaitable[Service]: ...


class NotAGateway(RemoteError):
    """The directory is no gateway, or its configuration makes no sense."""


@attrs.frozen
class NodeConfig:
    """A node as the configuration has it. `timeout` is in seconds."""

    uuid: str
    url: str
    cost: float = COST
    timeout: float = TIMEOUT


@attrs.frozen
class GatewayConfig:
    """What `p2pannex.toml` says."""

    uuid: str
    gateway: str
    cluster: str
    nodes: Mapping[str, NodeConfig] = attrs.field(factory=dict)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read it. NotAGateway, in one line that says what is wrong."""
        path = os.fsdecode(config_path(os.fsencode(directory)))
        try:
            table: dict[str, Any] = read_config(os.fsencode(directory))
        except OSError as error:
            raise NotAGateway(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise NotAGateway(f"cannot use {path}: {error}") from error
        if "cluster" not in table:
            raise NotAGateway(
                f"{directory} is no gateway; make one with: p2pannex cluster init {directory} --name NAME"
            )
        try:
            nodes = {name: _node(node) for name, node in table.get("nodes", {}).items()}
            return cls(checked_uuid(table.get("uuid")), _word(table, "gateway"), _word(table, "cluster"), nodes)
        except (TypeError, ValueError, AttributeError) as error:
            raise NotAGateway(f"cannot use {path}: {error}") from error

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write it whole, beside the old one, and put it in its place."""
        lines = [f"{name} = {_quoted(getattr(self, name))}" for name in ("uuid", "gateway", "cluster")]
        for name, node in self.nodes.items():
            lines += ["", f"[nodes.{_quoted(name)}]", f"uuid = {_quoted(node.uuid)}", f"url = {_quoted(node.url)}"]
            lines += [f"cost = {node.cost}", f"timeout = {node.timeout}"]
        replace_file(config_path(os.path.abspath(os.fsencode(directory))), "\n".join([*lines, ""]).encode())


def _node(table: Mapping[str, object]) -> NodeConfig:
    numbers = {name: table.get(name, default) for name, default in (("cost", COST), ("timeout", TIMEOUT))}
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
            raise ValueError(f"the {name} of a node has to be a number")
    return NodeConfig(_word(table, "uuid"), _word(table, "url"), **{k: float(v) for k, v in numbers.items()})  # type: ignore[arg-type]


def _word(table: Mapping[str, object], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"it has no usable {name}")
    return value


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def create(directory: str, name: str, *, uuid: str | None = None) -> GatewayConfig:
    """Make a gateway directory for a new cluster. RemoteError where there is one, or something else."""
    if not name.isprintable() or not name.strip():
        raise RemoteError("a cluster's name is one line of text")
    try:
        os.makedirs(directory, exist_ok=True)
        path = config_path(os.fsencode(directory))
        if os.path.lexists(path):
            raise RemoteError(f"{os.fsdecode(path)} is there already")
        config = GatewayConfig(uuid or str(uuid_module.uuid4()), str(uuid_module.uuid4()), name)
        config.save(directory)
    except OSError as error:
        raise RemoteError(f"cannot make {directory}: {error.strerror}") from error
    return config


class GatewayDirectory(Cluster):
    """The cluster that a gateway directory describes. An ``async with`` block opens its nodes and watches the file.

    NotAGateway where the directory is none. A node that cannot be opened is left out, and tried again.
    """

    def __init__(self, directory: str | os.PathLike[str], open_url: OpenURL) -> None:
        config = GatewayConfig.load(directory)
        super().__init__(config.uuid, gateway=config.gateway, name_nodes=counts_as_nodes(config.uuid))
        self.path = os.path.abspath(directory)
        self._open_url = open_url
        self._opened: dict[str, tuple[NodeConfig, Node]] = {}
        self._seen: tuple[int, int] | None = None
        self.problems: dict[str, str] = {}
        """Nodes that could not be opened, and why."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.reload()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.__aexit__(None, None, None)
            raise
        assert self._nursery is not None
        self._nursery.start_soon(self._watch)
        return self

    async def _watch(self) -> None:
        while True:
            await trio.sleep(LOOK)
            if _stamp(self.path) != self._seen or self.problems:
                try:
                    await self.reload()
                except NotAGateway:
                    continue

    async def reload(self) -> None:
        """Make the nodes those that the configuration names."""
        self._seen = _stamp(self.path)  # before it is read, so that a change meanwhile is seen the next time
        wanted = GatewayConfig.load(self.path).nodes
        stale = {name for name, (config, _) in self._opened.items() if wanted.get(name) != config}
        closing = [self._opened.pop(name)[1] for name in stale]
        for node in closing:
            self.discard(node)
        self.problems = {}
        for name, config in wanted.items():
            if name not in self._opened:
                try:
                    service = await self._open_url(config.url, uuid=config.uuid, timeout=config.timeout)
                except (RemoteError, ConnectionLost) as error:
                    self.problems[name] = str(error)
                    continue
                if service.uuid != config.uuid:
                    self.problems[name] = f"it is repository {service.uuid}, not {config.uuid}"
                    await service.aclose()
                    continue
                node = Node(name, service, cost=config.cost, timeout=config.timeout)
                self._opened[name] = (config, node)
                self.add(node)
        await _close(node.service for node in closing)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await _close(node.service for _, node in self._opened.values())
            self._opened.clear()


def _stamp(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(config_path(os.fsencode(directory)))
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


async def _close(services: Iterable[Service]) -> None:
    with trio.CancelScope(shield=True):
        for service in services:
            await service.aclose()


__all__ = ["GatewayConfig", "GatewayDirectory", "NodeConfig", "NotAGateway", "OpenURL", "create"]
