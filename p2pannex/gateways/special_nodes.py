"""Special remotes as nodes: content for all of them is received, verified and written to disk once.

A special remote's program takes whole files only, so what is uploaded to it goes through a spool. Each could have its
own; but a cluster of three clouds would write everything three times. So the special nodes of an upload share one part
of it (`put_to_special`): the spool's file is delivered to all of them at once, and each fails alone.

A program has deadlines of its own, which PROGRESS puts off: storing a large file in a cloud may take an hour without
anything being wrong. So a special node has no timeout beside these. A program that has ended or hangs is no answer, and
counts against the node's health.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import ParamSpec, TypeVar

import trio

from p2pannex.cluster.ask import ask_all
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
"""Seconds that the disk of the spool may take for a block of content."""


class SpecialNode(SharedUploadNode):
    """A node whose repository is a special remote. All of a cluster have one spool.

    `store` has to have room for `limit` transfers (its `concurrency`).
    """

    def __init__(self, name: str, store: ExternalStore, *, cost: float = COST, limit: int = TRANSFERS) -> None:
        super().__init__(name, store, cost=cost, timeout=math.inf, limit=limit)
        self.store = store
        self.open_shared_upload = put_to_special

    async def ask(self, question: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
        try:
            return await super().ask(question, *args, **named)
        except ProgramFailed:
            self.failed()
            raise


async def put_to_special(
    key: Key, nodes: Sequence[SpecialNode]
) -> tuple[UploadTarget | None, frozenset[str], list[str]]:
    """Begin to store content in special remotes, through the spool that they share.

    The upload, None where there is nothing to upload; which of them have the content already; and what kept others from
    answering, in words. Never raises what concerns one of them.
    """
    while True:
        present, missing, problems = await _presence(key, nodes)
        if not missing:
            return None, present, problems
        delivery = _Delivery(key, missing)
        spool = missing[0].store.spool
        try:
            upload = await spool.upload(key, delivery.deliver, delivery.all_present)
        except RemoteError as error:
            return None, present, [*problems, *(f"{node.name}: {error}" for node in missing)]
        if upload is not None:
            name = " and ".join(node.name for node in missing)
            return _target(name, missing, _SpooledUpload(upload, delivery)), present, problems
        # Somebody else has just delivered it: look again.


def _target(name: str, nodes: Sequence[SpecialNode], upload: Upload) -> UploadTarget:
    return UploadTarget(name, tuple(nodes), upload, _ask, SPOOL_TIMEOUT, own_deadlines=True)


async def _presence(key: Key, nodes: Collection[SpecialNode]) -> tuple[frozenset[str], list[SpecialNode], list[str]]:
    """Who has the content, who has not, and what kept others from answering."""
    answers, problems = await ask_all(nodes, lambda node: node.ask(node.store.check_present, key))
    present = frozenset([node.uuid for node, there in answers.items() if there])
    return present, [node for node in nodes if answers.get(node) is False], problems


async def _ask(question: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
    """Ask the upload into the spool, which is ours: what becomes of it is not held against any node."""
    return await question(*args, **named)


class _Delivery:
    """The way of one content from the spool to the special remotes that lack it."""

    def __init__(self, key: Key, nodes: Sequence[SpecialNode]) -> None:
        self._key = key
        self._nodes = nodes

    async def deliver(self, path: bytes) -> Stored | NotStored:
        """Store the file in all of them, at once. It fails where none could."""
        stored: set[str] = set()
        problems: list[str] = []

        async def store(node: SpecialNode) -> None:
            try:
                if isinstance(await node.ask(node.store.store_file, self._key, path), Stored):
                    stored.add(node.uuid)
            except (RemoteError, ConnectionLost) as error:
                problems.append(str(error))

        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(store, node)
        if not stored:
            raise RemoteError("; ".join(sorted(problems)))
        return Stored(frozenset(stored))

    async def having(self) -> frozenset[str]:
        present, _, _ = await _presence(self._key, self._nodes)
        return present

    async def all_present(self) -> bool:
        return len(await self.having()) == len(self._nodes)


class _SpooledUpload(Upload):
    """The upload into the spool, whose outcome names the special remotes that have the content."""

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
        present = await self._delivery.having()
        return Stored(present) if present else NotStored()

    async def aclose(self) -> None:
        await self._inner.aclose()


__all__ = ["SpecialNode", "put_to_special"]
