"""A target of an upload into a cluster: one node, or several nodes that receive the content once for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import attrs

from p2pannex.cluster.ask import Failures
from p2pannex.cluster.node import Node
from p2pannex.keys.key import Key
from p2pannex.service import Upload

P = ParamSpec("P")
T = TypeVar("T")


class Asks(Protocol):
    """Calls a method of an upload, with a deadline. `Node.ask_to_hash` is one."""

    def __call__(
        self, count: int, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs
    ) -> Awaitable[T]: ...


@attrs.frozen
class UploadTarget:
    """One receiver of the body.

    `nodes` are the nodes at which the upload holds a slot. `timeout`, in seconds, is how long a block may take.
    `stands_for` are the repositories that have the content when `upload` returns Stored, besides those that Stored
    names; it is empty for several nodes, which are all named. With `own_deadlines`, the upload sets its own deadlines,
    and its end may take much longer than that of other targets.
    """

    name: str
    nodes: tuple[Node, ...]
    upload: Upload
    ask: Asks
    timeout: float
    stands_for: frozenset[str] = frozenset()
    own_deadlines: bool = False

    @classmethod
    def of(cls, node: Node, upload: Upload) -> UploadTarget:
        return cls(node.name, (node,), upload, node.ask_to_hash, node.timeout, frozenset([node.uuid]))

    def failed(self) -> None:
        """Record that the target did nothing for too long."""
        if not self.own_deadlines:
            for node in self.nodes:
                node.failed()


OpenSharedUpload: TypeAlias = Callable[
    [Key, Sequence[Any]], Awaitable[tuple[UploadTarget | None, frozenset[str], Failures]]
]
"""Opens one upload for several nodes. Returns its target (None if no node lacks the content), the UUIDs of the
repositories that have the content already, and the nodes that failed."""


class SharedUploadNode(Node):
    """A node that receives content together with other nodes of its kind, in one upload."""

    open_shared_upload: OpenSharedUpload
    """Called with the key and all nodes of the upload that have the same function here."""
