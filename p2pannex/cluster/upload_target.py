"""A part of an upload into a cluster: one node's, or that of several that receive content once for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import attrs

from p2pannex.cluster.node import Node
from p2pannex.keys.key import Key
from p2pannex.service import Upload

P = ParamSpec("P")
T = TypeVar("T")


class Asks(Protocol):
    """Calls a method of an upload, in time. `Node.ask` is one."""

    def __call__(self, question: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> Awaitable[T]: ...


@attrs.frozen
class UploadTarget:
    """What receives a body.

    `nodes` are those of which a place is held meanwhile. `timeout`, in seconds, is how long a block may take.
    `stands_for` are the repositories that have the content when `upload` says Stored; several nodes name themselves.
    `own_deadlines` says that it has deadlines of its own, and that its end may take longer than the others' by far.
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
        return cls(node.name, (node,), upload, node.ask, node.timeout, frozenset([node.uuid]))

    def failed(self) -> None:
        """It did nothing for too long."""
        if not self.own_deadlines:
            for node in self.nodes:
                node.failed()


OpenSharedUpload: TypeAlias = Callable[
    [Key, Sequence[Any]], Awaitable[tuple[UploadTarget | None, frozenset[str], list[str]]]
]
"""Opens one upload for several nodes: its target, None where no node lacks the content; the UUIDs of repositories that
have the content already; and for the nodes that failed, one line each."""


class SharedUploadNode(Node):
    """A node that receives content together with others of its kind: those of one cluster share an upload."""

    open_shared_upload: OpenSharedUpload
    """Called with the key and all nodes of the upload that have this same attribute."""
