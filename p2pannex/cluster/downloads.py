"""A download from a cluster: one body, whichever nodes its bytes come from.

If the node that the bytes come from fails, another node continues at the byte that was reached. The reader notices only
a pause. Small content is read whole, and verified, before the reader gets any of it. So one deadline, one slot and one
connection are enough for it, and if a node's content is wrong, another node's is read before the length is announced.

The receiver's FAILURE reaches the node that sent the last byte: that node's copy becomes suspect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio
from attrs import frozen

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.ask import Failures, left_out, listed
from p2pannex.cluster.node import Node, to_ask
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Download, FileRange, Service

TRANSFER_CLOSE_TIMEOUT = 5.0
"""Seconds that closing a node's transfer may take."""

SMALL_CONTENT = 64 * 1024
"""Content up to this many bytes is read whole."""


class _Counted:
    """The file range of a node's download. Bytes that are sent from it count as read from the whole download."""

    def __init__(self, whole: ClusterDownload, inner: FileRange) -> None:
        self._whole = whole
        self._inner = inner

    def fileno(self) -> int:
        return self._inner.fileno()

    @property
    def position(self) -> int:
        return self._inner.position

    def advance(self, count: int) -> None:
        self._inner.advance(count)
        self._whole.reached += count


@frozen
class _Small:
    """Small content that was read whole. `valid`: the node reported so, and the digest is that of the key."""

    content: memoryview
    valid: bool

    @property
    def length(self) -> int:
        return len(self.content)


class _ReadRest(Download):
    """The rest of small content, from an offset on, that was read whole. The node waits for the receiver's receipt."""

    def __init__(self, source: Download, content: memoryview) -> None:
        self._source = source
        self._rest = content
        self.length = len(content)

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def valid(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def finish(self, received: bool) -> None:
        await self._source.finish(received)

    async def aclose(self) -> None:
        await self._source.aclose()


async def _close(source: Download) -> None:
    with trio.move_on_after(TRANSFER_CLOSE_TIMEOUT, shield=True):
        await source.aclose()


class ClusterDownload(Download):
    """Content from the first of `nodes` that has it. The cluster calls `open` first. `service` gives the service of a
    node, and `recovered` divides suspended nodes as `Probes.recovered` does."""

    def __init__(
        self,
        key: Key,
        offset: int,
        file: bytes | None,
        nodes: Iterable[Node],
        service: Callable[[Node], Service],
        admission: Admission,
        recovered: Callable[[list[Node]], Awaitable[tuple[list[Node], list[Node]]]],
    ) -> None:
        self._key = key
        self._admission = admission
        self._recovered = recovered
        self._file = file
        self._candidates = list(nodes)
        """The nodes that got no request yet."""
        self._service = service
        self._node: Node | None = None
        self._source: Download | None = None
        self._small: _Small | None = None
        """Used instead of `_source` for small content."""
        self.reached = offset
        """The offset in the content of the next byte."""
        self.length = 0
        self._end = offset

    async def open(self) -> None:
        """Find the first source. If every node replies that it does not have the content, this is a download of no
        bytes. RemoteError if a node failed instead, since it may have the content."""
        problems: Failures = {}
        await self._next(None, problems)
        found = self._source or self._small
        if found is not None:
            self.length = found.length
            self._end = self.reached + found.length
        elif problems:
            raise RemoteError("no node could give the content: " + listed(problems))

    async def _next(self, length: int | None, problems: Failures) -> None:
        """Open the content at the next candidate that has it. `length` is how many bytes are left of a download that
        another candidate began; None for the first one."""
        size = self._key.size
        left = length if size is None or length is not None else max(0, size - self.reached)
        # A suspended node would delay the reply. It is used only to continue a download that would end otherwise.
        nodes, suspended = to_ask(self._candidates)
        if length is not None:
            nodes, suspended = nodes + suspended, []
        while nodes:
            if await self._try(nodes, length, left, problems):
                return
            nodes, suspended = await self._recovered(suspended)
        problems |= left_out(suspended)

    async def _try(self, nodes: list[Node], length: int | None, left: int | None, problems: Failures) -> bool:
        """Whether one of these candidates has the content; it is open then. `left`: how many bytes it must have."""
        for node in nodes:
            self._candidates.remove(node)
            try:
                found = await self._open(node, self._service(node))
            except (RemoteError, ConnectionLost) as error:
                problems[node.name] = str(error)
                continue
            if left is not None and found.length != left:
                if found.length or length is not None:  # without bytes, it does not have the content
                    problems[node.name] = f"announces {found.length} bytes where {left} are left"
            elif isinstance(found, Download):
                self._node, self._source, self._small = node, found, None
                return True
            elif found.valid:
                self._small = found
                return True
            elif length is not None:
                problems[node.name] = "has no valid content"
            elif found.length and self._small is None:
                self._small = found  # used only if no other candidate has valid content
            if isinstance(found, Download):
                await self._close(node, found)
        return False

    async def _open(self, node: Node, service: Service) -> Download | _Small:
        """Open the content at a node, once a slot there is free. A Download that is returned holds the slot; small
        content does not. The caller holds no other slot."""
        await self._admission.enter([node])
        found: Download | _Small | None = None
        try:
            found = await node.ask_to_hash(self._key.size or 0, self._begin, service)
            return found
        finally:
            if not isinstance(found, Download):
                self._admission.leave(node)

    async def _begin(self, service: Service) -> Download | _Small:
        """Request the content from `reached` on, and read and verify it if it is small."""
        source = await service.get(self._key, offset=self.reached, file=self._file)
        if source.length > SMALL_CONTENT:
            return source
        kept = False
        try:
            content = memoryview(bytearray(source.length))
            reached = 0
            while reached < source.length:
                count = await source.readinto(content[reached:])
                if not count:
                    raise ConnectionLost("the content ended early")
                reached += count
            valid = await source.valid()
            if valid and self.reached and content:
                kept = True  # of the rest alone, only the receiver can tell whether it is right
                return _ReadRest(source, content)
            valid = valid and (self.reached > 0 or self._matches(content))
            await source.finish(valid)
            return _Small(content, valid)
        finally:
            if not kept:
                await _close(source)

    def _matches(self, content: memoryview) -> bool:
        """Whether the content is the key's, as far as that can be told here."""
        verifier = self._key.verifier()
        verifier.update(content)
        return verifier.valid()

    async def _close(self, node: Node, source: Download) -> None:
        try:
            await _close(source)
        finally:
            self._admission.leave(node)

    async def _leave(self) -> None:
        node, source = self._node, self._source
        self._node = self._source = None
        if node is not None and source is not None:
            await self._close(node, source)

    @property
    def file_range(self) -> FileRange | None:
        inner = None if self._source is None else self._source.file_range
        return None if inner is None else _Counted(self, inner)

    async def readinto(self, view: memoryview) -> int:
        if self.reached >= self._end:
            return 0
        view = view[: self._end - self.reached]
        problems: Failures = {}
        while self._node is not None and self._source is not None:
            node, source = self._node, self._source
            try:
                count = await node.ask(source.readinto, view)
                if not count:
                    raise ConnectionLost("the content ended early")
            except (RemoteError, ConnectionLost) as error:
                problems[node.name] = str(error)
                await self._leave()
                await self._next(self._end - self.reached, problems)
                continue
            self.reached += count
            return count
        if self._small is None:
            raise ConnectionLost(f"no node could continue at byte {self.reached}: " + listed(problems))
        rest = self._small.content[self.reached - self._end :]
        count = min(len(view), len(rest))
        view[:count] = rest[:count]
        self.reached += count
        await trio.lowlevel.checkpoint_if_cancelled()
        return count

    async def valid(self) -> bool:
        """Whether the source reports valid content. If the source fails first, the next candidate that has the content
        reports instead."""
        problems: Failures = {}
        if self._node is not None and self._source is not None:
            node, source = self._node, self._source
            try:
                return await node.ask_to_hash(self._end, source.valid)
            except (RemoteError, ConnectionLost) as error:
                problems[node.name] = str(error)
            await self._leave()
            # No bytes are left, so the next candidate's content is small: it has reported already that it is valid.
            await self._next(0, problems)
        if problems and self._small is None:
            raise ConnectionLost("no node could confirm that the content is valid: " + listed(problems))
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._small is not None and self._small.valid

    async def finish(self, received: bool) -> None:
        if self._node is not None and self._source is not None:
            source = self._source
            await self._node.ask(source.finish, received)

    async def aclose(self) -> None:
        await self._leave()
        await trio.lowlevel.checkpoint_if_cancelled()
