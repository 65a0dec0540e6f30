"""An upload into a cluster: the same bytes to several nodes, each at its own pace and from its own offset.

Each node has a queue of blocks, and a task that sends from it. The blocks are shared: what is queued is a reference, so
that memory is bounded by the number of nodes times the queue, and a slow node holds the others back only when its queue
is full. A node that errs, or takes nothing for its timeout, is left out from then on; the outcome names exactly those
where the content now is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, Protocol, TypeVar

import attrs
import trio

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.downloads import CLOSING
from p2pannex.cluster.node import Node
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.service import NotStored, Stored, Upload

P = ParamSpec("P")
T = TypeVar("T")

QUEUE = 8 << 20
"""Bytes that may wait for one node."""

PIECES = 256
"""Pieces that may wait for one node, however small they are."""


class _Queue:
    """What waits for one node: closed by the source when there is no more, dropped when the node is left out."""

    def __init__(self) -> None:
        self._blocks: list[memoryview] = []
        self._bytes = 0
        self._changed = trio.Event()
        self.ended = False
        self.dropped = False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def put(self, block: memoryview) -> None:
        while not self.dropped and self._blocks and (self._bytes + len(block) > QUEUE or len(self._blocks) >= PIECES):
            await self._changed.wait()
        if not self.dropped:
            self._blocks.append(block)
            self._bytes += len(block)
            self._wake()

    async def get(self) -> memoryview | None:
        while not self._blocks:
            if self.ended:
                return None
            await self._changed.wait()
        block = self._blocks.pop(0)
        self._bytes -= len(block)
        self._wake()
        return block

    def end(self) -> None:
        self.ended = True
        self._wake()

    def drop(self) -> None:
        self.dropped = True
        self._blocks.clear()
        self._wake()


class Asks(Protocol):
    """Calls a method of an upload, in time. `Node.ask` is one."""

    def __call__(self, question: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> Awaitable[T]: ...


@attrs.frozen
class Part:
    """What receives a body: one node, or several that receive it once for all of them.

    `stands_for` are the repositories that have the content when `upload` says Stored; several nodes name themselves.
    """

    name: str
    nodes: tuple[Node, ...]
    upload: Upload
    ask: Asks
    stands_for: frozenset[str] = frozenset()

    @classmethod
    def of(cls, node: Node, upload: Upload) -> Part:
        return cls(node.name, (node,), upload, node.ask, frozenset([node.uuid]))


class _Child:
    """One part of the upload. It holds a place at each of its nodes, until it is done."""

    def __init__(self, part: Part, admission: Admission) -> None:
        self.part = part
        self.upload = part.upload
        self._admission = admission
        self._placed = True
        self.queue = _Queue()
        self.skip = 0
        """Bytes at the beginning of the body that this node has already."""
        self.valid: bool | None = None
        """What the source says of the body, once it has ended; None where it stopped in the middle."""
        self.outcome: Stored | NotStored | None = None
        self.problem: RemoteError | ConnectionLost | None = None
        self.done = trio.Event()
        """What became of it is known."""
        self.ended = trio.Event()
        """Its task is over."""
        self.scope = trio.CancelScope()

    @property
    def uuids(self) -> frozenset[str]:
        """Where the content now is, of the repositories that this part stands for."""
        if self.outcome is None:
            return frozenset()
        return self.outcome.uuids | (self.part.stands_for if isinstance(self.outcome, Stored) else frozenset())

    def leave(self) -> None:
        """Give the places back. Again is no matter."""
        if self._placed:
            self._placed = False
            for node in self.part.nodes:
                self._admission.leave(node)

    async def run(self, length: int) -> None:
        """Send what the queue gives, then learn what became of it. Never raises: the outcome says it all."""
        try:
            with self.scope:
                await self._send(length)
        finally:
            self.queue.drop()
            self.done.set()
            try:
                if self.problem is not None:  # it is not to be in the way of others while the rest goes on
                    await close_all([self.upload])
                    self.leave()
            finally:
                self.ended.set()

    async def _send(self, length: int) -> None:
        ask, upload = self.part.ask, self.upload
        try:
            await ask(upload.begin, length)
            while (block := await self.queue.get()) is not None:
                await ask(upload.send_all, block)
            if self.valid is not None:
                valid = self.valid
                self.outcome = await ask(upload.finish, valid)
                self.leave()
        except (RemoteError, ConnectionLost) as error:
            self.problem = error

    async def data_present(self) -> None:
        try:
            self.outcome = await self.part.ask(self.upload.data_present)
        except (RemoteError, ConnectionLost) as error:
            self.problem = error


class ClusterUpload(Upload):
    """Uploads to several nodes as one. The tasks are in `nursery`, which is the cluster's. The places that the nodes
    have given to it are given back through `admission`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        parts: Iterable[Part],
        present: frozenset[str],
        named: Callable[[frozenset[str]], frozenset[str]],
        admission: Admission,
    ) -> None:
        self._nursery = nursery
        self._children = [_Child(part, admission) for part in parts]
        self._present = present
        self._named = named
        self._begun = False
        self._closed = False
        self._sent = 0
        self.offset = min(child.upload.offset for child in self._children)

    async def begin(self, length: int) -> None:
        self._begun = True
        for child in self._children:
            child.skip = child.upload.offset - self.offset
            if child.skip > length:
                # What it kept is longer than all that there is: it is not of this content.
                child.problem = RemoteError("kept more than there is")
                child.queue.drop()
                child.done.set()
                child.ended.set()
            else:
                self._nursery.start_soon(child.run, length - child.skip)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def send_all(self, view: memoryview) -> None:
        block = memoryview(bytes(view))  # the view is ours during this call only; the copy is shared by all nodes
        for child in self._children:
            begin = min(max(child.skip - self._sent, 0), len(block))
            if begin < len(block):
                await child.queue.put(block[begin:])
        self._sent += len(block)
        if not self._present and all(child.queue.dropped for child in self._children):
            raise self._problem()

    async def finish(self, valid: bool) -> Stored | NotStored:
        for child in self._children:
            child.valid = valid
            child.queue.end()
        for child in self._children:
            await child.done.wait()
        return self._outcome()

    async def data_present(self) -> Stored | NotStored:
        async with trio.open_nursery() as nursery:
            for child in self._children:
                nursery.start_soon(child.data_present)
        return self._outcome()

    def _outcome(self) -> Stored | NotStored:
        """Which repositories have the content now: those that stored it, and those that had it before.

        Where there are any, the client is told of them even if every upload failed: an error could name none.
        """
        if not self._present and all(child.problem is not None for child in self._children):
            raise self._problem()
        uuids = self._named(self._present.union(*(child.uuids for child in self._children)))
        stored = any(isinstance(child.outcome, Stored) for child in self._children)
        return Stored(uuids) if stored else NotStored(uuids)

    def _problem(self) -> RemoteError:
        return RemoteError(
            "no node could store the content: "
            + "; ".join(f"{child.part.name}: {child.problem}" for child in self._children if child.problem)
        )

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._begun:
                await self._stop()
        finally:
            try:
                await close_all(child.upload for child in self._children)
            finally:
                for child in self._children:
                    child.leave()

    async def _stop(self) -> None:
        """Give the nodes what was queued for them, for a later upload to resume from, if they take it soon."""
        with trio.move_on_after(CLOSING, shield=True):
            for child in self._children:
                child.queue.end()
            for child in self._children:
                await child.ended.wait()
        with trio.CancelScope(shield=True):
            for child in self._children:
                child.scope.cancel()
                await child.ended.wait()


async def close_all(uploads: Iterable[Upload]) -> None:
    """Close uploads, all at once, also while being cancelled, within seconds."""
    with trio.move_on_after(CLOSING, shield=True):
        async with trio.open_nursery() as nursery:
            for upload in uploads:
                nursery.start_soon(upload.aclose)
