"""Special remotes as nodes: content for all of them is received, verified and written to disk once.

The program of a special remote takes whole files only, so an upload to it goes through a spool. If each special remote
had its own spool, a cluster of three clouds would write all content three times. So the special nodes of an upload
share one target (`put_to_special`). The file in the spool is delivered to all of them at the same time, and one node's
failure does not affect the others.

Requests to a program have their own deadlines, which PROGRESS extends: storing a large file in a cloud may take an hour
with no fault anywhere. So a special node has no further timeout. If the program exits or hangs, the node counts as
failed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import ParamSpec, TypeVar

import trio

from p2pannex.cluster.ask import Failures, NotDelivered, ask_all
from p2pannex.cluster.node import COST, TRANSFERS
from p2pannex.cluster.upload_target import SharedUploadNode, UploadTarget
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.external.process import ProgramFailed
from p2pannex.stores.external.store import ExternalStore

P = ParamSpec("P")
T = TypeVar("T")

SPOOL_TIMEOUT = 60.0
"""Seconds that writing a block of content to the spool may take."""


class SpecialNode(SharedUploadNode):
    """A node whose repository is a special remote. All special nodes of a cluster share one spool.

    `store` must allow `limit` transfers at a time (its `concurrency`).
    """

    def __init__(self, name: str, store: ExternalStore, *, cost: float = COST, limit: int = TRANSFERS) -> None:
        super().__init__(name, store, cost=cost, timeout=math.inf, limit=limit)
        self.store = store
        self.open_shared_upload = put_to_special

    def counts_as_failure(self, error: RemoteError, took: float) -> bool:
        return isinstance(error, ProgramFailed) or super().counts_as_failure(error, took)


async def put_to_special(
    key: Key, nodes: Sequence[SpecialNode]
) -> tuple[UploadTarget | None, frozenset[str], Failures]:
    """Open one upload to all of `nodes` that lack the content, through the spool that they share.

    Returns its target (None if there is nothing to upload), the UUIDs of the nodes that have the content already, and
    the nodes that failed. A node's failure is never raised.
    """
    while True:
        present, missing, failures = await _presence(key, nodes)
        if not missing:
            return None, present, failures
        delivery = _Delivery(key, missing)
        spool = missing[0].store.spool
        try:
            upload = await spool.upload(key, delivery.deliver, delivery.all_present)
        except RemoteError as error:
            return None, present, failures | {node.name: str(error) for node in missing}
        if upload is not None:
            name = " and ".join(node.name for node in missing)
            return _target(name, missing, _SpooledUpload(upload, delivery)), present, failures
        # Another upload has just delivered the content: check again.


def _target(name: str, nodes: Sequence[SpecialNode], upload: Upload) -> UploadTarget:
    return UploadTarget(name, tuple(nodes), upload, _ask, SPOOL_TIMEOUT, own_deadlines=True)


async def _presence(key: Key, nodes: Collection[SpecialNode]) -> tuple[frozenset[str], list[SpecialNode], Failures]:
    """The UUIDs of the nodes that have the content, the nodes that lack it, and those that failed."""
    replies, failures = await ask_all(nodes, lambda node: node.ask(node.store.check_present, key))
    present = frozenset([node.uuid for node, has_it in replies.items() if has_it])
    return present, [node for node in nodes if replies.get(node) is False], failures


async def _ask(count: int, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
    """Call the upload into the spool. The spool is on this machine, so its errors do not count as a node's failure."""
    return await request(*args, **named)


class _Delivery:
    """Delivers one content from the spool to the special remotes that lack it."""

    def __init__(self, key: Key, nodes: Sequence[SpecialNode]) -> None:
        self._key = key
        self._nodes = nodes

    async def deliver(self, path: bytes) -> Stored | NotStored:
        """Store the file in all of them at the same time. RemoteError if none of them stored it."""
        replies, failures = await ask_all(self._nodes, lambda node: node.ask(node.store.store_file, self._key, path))
        if not replies:
            raise NotDelivered(failures)
        return Stored(frozenset([node.uuid for node in replies]), failures)

    async def holders(self) -> frozenset[str]:
        present, _, _ = await _presence(self._key, self._nodes)
        return present

    async def all_present(self) -> bool:
        return len(await self.holders()) == len(self._nodes)


class _SpooledUpload(Upload):
    """The upload into the spool. Its outcome names the special remotes that have the content."""

    def __init__(self, inner: Upload, delivery: _Delivery) -> None:
        self._inner = inner
        self._delivery = delivery
        self.offset = inner.offset

    async def begin(self, length: int) -> None:
        await self._inner.begin(length)

    async def send_all(self, view: memoryview) -> None:
        with trio.move_on_after(SPOOL_TIMEOUT):
            return await self._inner.send_all(view)
        raise ConnectionLost(f"the spool took nothing for {SPOOL_TIMEOUT:g} s")

    async def finish(self, valid: bool) -> Stored | NotStored:
        return await self._inner.finish(valid)

    async def data_present(self) -> Stored | NotStored:
        present = await self._delivery.holders()
        return Stored(present) if present else NotStored()

    async def aclose(self) -> None:
        await self._inner.aclose()


__all__ = ["SpecialNode", "put_to_special"]
