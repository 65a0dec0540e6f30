"""Reads and writes the `p2pannex.toml` of a gateway directory, which describes a cluster without git.

::

    uuid = "..."                       # the cluster's UUID
    gateway = "..."                    # the gateway's own UUID
    cluster = "family"
    copies = 2                         # the least number of nodes that must have content
    numcopies = 2                      # used by lackingcopies=

    [groupwanted]                      # the expressions that groupwanted stands for, by group
    archive = "not copies=archive:1"

    [nodes.attic]
    uuid = "..."
    url = "ssh://attic/srv/annex"
    cost = 200.0
    timeout = 30.0
    transfers = 8
    wanted = "standard"                # preferred content; without it, the node wants everything
    groups = ["archive"]

    [nodes.shelf]
    uuid = "..."
    url = "/srv/shelf"
    max_size = "500GB"                 # for balanced= and sizebalanced=; only for directories of this machine

    [nodes.cloud]                      # a special remote
    uuid = "..."
    external = ["rclone", "gitannex"]
    [nodes.cloud.settings]
    rcloneremotename = "cloud"

Settings may be passwords, so only the owner can read the file. `GatewayConfig.load` raises NotAGateway for an invalid
configuration, which includes unknown settings and expressions that cannot be evaluated. `change` serialises concurrent
changes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs

from p2pannex.cluster.node import COST, NODE_TIMEOUT, TRANSFERS
from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.toml_values import count, lines_of, number, quoted, refuse_unknown, texts, word, words
from p2pannex.stores.directory_config import CONFIG, checked_uuid, config_path, new_uuid, read_config
from p2pannex.stores.external.spool import DISK_RESERVE
from p2pannex.stores.trusted_directories import owner_problem, trust_new
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.durability import replace_file
from p2pannex.system.file_locks import sole_writer

if TYPE_CHECKING:
    from p2pannex.cluster.wanted import PreferredContent


class NotAGateway(RemoteError):
    """The directory is no gateway, or its configuration is invalid."""


@attrs.frozen
class NodeConfig:
    """A node in the configuration. It has either a `url`, or in `external` a special remote's command line.

    `timeout` is in seconds. `transfers` is how many the node has at a time. `wanted` is its preferred content
    expression. `max_size` is like ``500GB``, or empty. `settings` are those of ``git annex initremote`` for the special
    remote.
    """

    uuid: str
    url: str = ""
    cost: float = COST
    timeout: float = NODE_TIMEOUT
    transfers: int = TRANSFERS
    wanted: str = ""
    groups: tuple[str, ...] = ()
    max_size: str = ""
    external: tuple[str, ...] = ()
    settings: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def max_bytes(self) -> int | None:
        """`max_size` in bytes; None for no limit. ValueError if it is invalid."""
        if not self.max_size:
            return None
        from p2pannex.git_annex.values import parse_size
        from p2pannex.url_syntax import DirectoryURL, parse_url

        limit = parse_size(self.max_size, -1)
        if limit < 0:
            raise ValueError(f"max_size is not a size such as 500GB or 1.5TiB: {self.max_size}")
        if self.external or not isinstance(parse_url(self.url), DirectoryURL):
            raise ValueError("max_size is for directories of this machine only: how much others hold is not known")
        return limit

    def opened_alike(self, other: NodeConfig) -> bool:
        """Whether a service that was opened for one configuration can be used for the other."""
        return self.opened_with == other.opened_with

    @property
    def opened_with(self) -> tuple[object, ...]:
        """The settings that a service is opened with, passwords included."""
        return attrs.astuple(attrs.evolve(self, cost=COST, wanted="", groups=(), max_size=""), recurse=False)


@attrs.frozen
class GatewayConfig:
    """The content of `p2pannex.toml`. `copies` is the least number of nodes that must have content, `disk_reserve` how
    many bytes of its disk the spool leaves free."""

    uuid: str
    gateway: str
    cluster: str
    nodes: Mapping[str, NodeConfig] = attrs.field(factory=dict)
    numcopies: int = 1
    groupwanted: Mapping[str, str] = attrs.field(factory=dict)
    disk_reserve: int = DISK_RESERVE
    copies: int = 1

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read the configuration. NotAGateway says in one line what is wrong with it, or that another user owns it."""
        if problem := owner_problem(os.fsencode(directory), CONFIG):
            raise NotAGateway(problem)
        path = os.fsdecode(config_path(os.fsencode(directory)))
        try:
            table = read_config(os.fsencode(directory))
        except OSError as error:
            raise NotAGateway(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise NotAGateway(f"cannot use {path}: {error}") from error
        if "cluster" not in table:
            raise NotAGateway(f"{directory} is no gateway: its p2pannex.toml describes a store")
        try:
            return cls.of(table)
        except ValueError as error:
            raise NotAGateway(f"cannot use {path}: {error}") from error

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """The configuration in a TOML table. ValueError, which may be an InvalidExpression, if it is invalid."""
        try:
            config = cls(**_read(table))
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
        config.preferred()
        return config

    def preferred(self) -> PreferredContent | None:
        """What the nodes want; None if no node has an expression. InvalidExpression names the node and the term."""
        limits = {name: _limit(name, node) for name, node in self.nodes.items()}
        if not any(node.wanted.strip() for node in self.nodes.values()):
            return None
        # Imported here: few clusters need it, and clients wait for imports.
        from p2pannex.cluster.wanted import Preference, PreferredContent

        preferences = {
            name: Preference(node.uuid, node.wanted, frozenset(node.groups), limits[name])
            for name, node in self.nodes.items()
        }
        return PreferredContent.load(preferences, group_wanted=self.groupwanted, numcopies=self.numcopies)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the configuration, atomically. RemoteError if it is invalid."""
        text = self.text()
        try:
            self.of(tomllib.loads(text))
            replace_file(config_path(os.path.abspath(os.fsencode(directory))), text.encode())
        except ValueError as error:
            raise RemoteError(str(error)) from error

    def node(self, name: str) -> NodeConfig:
        """The node of that name. RemoteError if there is none."""
        if name not in self.nodes:
            raise RemoteError(f"there is no node {name}; there are: {', '.join(self.nodes) or 'none'}")
        return self.nodes[name]

    def with_node(self, name: str, node: NodeConfig) -> Self:
        """The configuration with this node, which replaces one of the same name. To add a new node, call `add_node`."""
        return attrs.evolve(self, nodes={**self.nodes, name: node})

    def without_node(self, name: str) -> Self:
        """The configuration without the node of that name. RemoteError if there is none."""
        self.node(name)
        return attrs.evolve(self, nodes={other: node for other, node in self.nodes.items() if other != name})

    def text(self) -> str:
        """The configuration as TOML."""
        lines = [f"{name} = {quoted(getattr(self, name))}" for name in ("uuid", "gateway", "cluster")]
        if self.copies != 1:
            lines.append(f"copies = {self.copies}")
        if self.numcopies != 1:
            lines.append(f"numcopies = {self.numcopies}")
        if self.disk_reserve != DISK_RESERVE:
            lines.append(f"disk_reserve = {self.disk_reserve}")
        lines += lines_of("groupwanted", self.groupwanted)
        for name, node in self.nodes.items():
            lines += ["", f"[nodes.{quoted(name)}]", f"uuid = {quoted(node.uuid)}"]
            if node.url:
                lines.append(f"url = {quoted(node.url)}")
            if node.external:
                lines.append(f"external = {quoted(node.external)}")
            lines += [f"cost = {node.cost}", f"timeout = {node.timeout}", f"transfers = {node.transfers}"]
            if node.max_size:
                lines.append(f"max_size = {quoted(node.max_size)}")
            if node.wanted:
                lines.append(f"wanted = {quoted(node.wanted)}")
            if node.groups:
                lines.append(f"groups = {quoted(node.groups)}")
            lines += lines_of(f"nodes.{quoted(name)}.settings", node.settings)
        return "\n".join([*lines, ""])


def change(directory: str | os.PathLike[str], edit: Callable[[GatewayConfig], GatewayConfig]) -> GatewayConfig:
    """Replace the configuration by what `edit` returns, while no other process changes it. With RemoteError, it stays
    unchanged."""
    with disk_errors(f"cannot change {os.fspath(directory)}"):
        GatewayConfig.load(directory)  # fails before a lock file is made in a directory that is not a gateway
        with sole_writer(config_path(os.fsencode(directory))):
            config = edit(GatewayConfig.load(directory))
            config.save(directory)
    return config


def create(
    directory: str, name: str, *, uuid: str | None = None, copies: int = 1, trusted: bool = True
) -> GatewayConfig:
    """Make a gateway directory for a new cluster. RemoteError if `directory` has a configuration already.

    If `trusted`, p2pannex-shell may serve it: it is added to the list of `p2pannex.stores.trusted_directories`.
    """
    if not name.isprintable() or not name.strip():
        raise RemoteError("a cluster's name is one line of text")
    config = GatewayConfig(new_uuid(uuid), new_uuid(), name, copies=copies)
    with disk_errors(f"cannot make {directory}"):
        os.makedirs(directory, exist_ok=True)
        path = config_path(os.fsencode(directory))
        with sole_writer(path):
            if os.path.lexists(path):
                raise RemoteError(f"{os.fsdecode(path)} exists already")
            config.save(directory)
    if trusted:
        trust_new(directory)
    return config


# Reading ------------------------------------------------------------------------------------------------------------

_KNOWN = {field.name for field in attrs.fields(GatewayConfig)}
_KNOWN_OF_NODE = {field.name for field in attrs.fields(NodeConfig)}


def _read(table: Mapping[str, Any]) -> dict[str, Any]:
    refuse_unknown(table, _KNOWN, "the configuration")
    return {
        "uuid": checked_uuid(table.get("uuid")),
        "gateway": word(table, "gateway"),
        "cluster": word(table, "cluster"),
        "nodes": {name: _node(name, node) for name, node in table.get("nodes", {}).items()},
        "copies": count(table, "copies", 1, least=1),
        "numcopies": count(table, "numcopies", 1, least=1),
        "groupwanted": texts(table, "groupwanted"),
        "disk_reserve": count(table, "disk_reserve", DISK_RESERVE),
    }


def _node(name: str, table: Mapping[str, object]) -> NodeConfig:
    refuse_unknown(table, _KNOWN_OF_NODE, f"node {name}")
    external = words(table, "external")
    if external and "url" in table:
        raise ValueError(f"node {name} has both a url and a special remote's program; it can have only one")
    return NodeConfig(
        checked_uuid(table.get("uuid")),
        "" if external else word(table, "url"),
        number(table, "cost", COST),
        number(table, "timeout", NODE_TIMEOUT),
        count(table, "transfers", TRANSFERS, least=1),
        word(table, "wanted") if "wanted" in table else "",
        words(table, "groups"),
        word(table, "max_size") if "max_size" in table else "",
        external,
        texts(table, "settings"),
    )


def _limit(name: str, node: NodeConfig) -> int | None:
    try:
        return node.max_bytes
    except ValueError as error:
        raise ValueError(f"node {name}: {error}") from error


__all__ = ["GatewayConfig", "NodeConfig", "NotAGateway", "change", "create"]
