"""A download from a cluster: one body, whichever nodes it comes from.

Where the node that it comes from fails, another goes on at the byte that was reached. The reader notices nothing but a
pause. Small content is read at once, so that one node's deadline, place and connection serve for all of it, and it is
known to be good before the reader is told that there is any.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio
from attrs import frozen

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.node import Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Download, FileRange, Service

TRANSFER_CLOSE_TIMEOUT = 5.0
"""Seconds that closing a node's transfer may take."""

SMALL_CONTENT = 64 * 1024
"""Bytes of content that are read at once."""


class _Counted:
    """The file range of a node's download; what was sent from it counts as read."""

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
    """Content that was read at once, or the rest of one."""

    content: memoryview
    valid: bool

    @property
    def length(self) -> int:
        return len(self.content)


async def _close(source: Download) -> None:
    with trio.move_on_after(TRANSFER_CLOSE_TIMEOUT, shield=True):
        await source.aclose()


class ClusterDownload(Download):
    """Content from the first of `candidates` that has it. Opened with `open`, which the cluster calls."""

    def __init__(
        self,
        key: Key,
        offset: int,
        file: bytes | None,
        candidates: Iterable[tuple[Node, Service]],
        admission: Admission,
    ) -> None:
        self._key = key
        self._admission = admission
        self._file = file
        self._candidates = iter(candidates)
        self._node: Node | None = None
        self._source: Download | None = None
        self._small: _Small | None = None
        """What there is instead of a source that is open."""
        self.reached = offset
        """The offset in the content of the next byte."""
        self.length = 0
        self._end = offset

    async def open(self) -> None:
        """Find the first source. Where every node says that the content is not there, this is a download of nothing;
        RemoteError where some could not be asked, so that nobody can say."""
        problems: list[str] = []
        await self._next(None, problems)
        found = self._source or self._small
        if found is not None:
            self.length = found.length
            self._end = self.reached + found.length
        elif problems:
            raise RemoteError("no node could give the content: " + "; ".join(problems))

    async def _next(self, length: int | None, problems: list[str]) -> None:
        """Open the content at the next candidate that has it, with `length` bytes left where that is known."""
        for node, service in self._candidates:
            try:
                found = await self._open(node, service)
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
                continue
            if length is not None and found.length != length:
                problems.append(f"{node.name}: has content of another length")
            elif isinstance(found, Download):
                self._node, self._source, self._small = node, found, None
                return
            elif found.valid:
                self._small = found
                return
            elif length is not None:
                problems.append(f"{node.name}: has no good content")
            elif found.length and self._small is None:
                self._small = found  # unless another has good content, this is what there is
            if isinstance(found, Download):
                await self._close(node, found)

    async def _open(self, node: Node, service: Service) -> Download | _Small:
        """The node's download, and our place there, where we wait for one; or all there is, and no place is held any
        more. The last one was given back before."""
        await self._admission.enter([node])
        found: Download | _Small | None = None
        try:
            found = await node.ask(self._begin, service)
            return found
        finally:
            if not isinstance(found, Download):
                self._admission.leave(node)

    async def _begin(self, service: Service) -> Download | _Small:
        """Open the content at a node, where we are, and read it where it is small."""
        source = await service.get(self._key, offset=self.reached, file=self._file)
        if source.length > SMALL_CONTENT:
            return source
        try:
            content = memoryview(bytearray(source.length))
            reached = 0
            while reached < source.length:
                count = await source.readinto(content[reached:])
                if not count:
                    raise ConnectionLost("its content ended early")
                reached += count
            valid = await source.valid()
            await source.finish(valid)
            return _Small(content, valid)
        finally:
            await _close(source)

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
        problems: list[str] = []
        while self._node is not None and self._source is not None:
            node, source = self._node, self._source
            try:
                count = await node.ask(source.readinto, view)
                if not count:
                    raise ConnectionLost("its content ended early")
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
                await self._leave()
                await self._next(self._end - self.reached, problems)
                continue
            self.reached += count
            return count
        if self._small is None:
            raise ConnectionLost(f"no node could go on at byte {self.reached}: " + "; ".join(problems))
        rest = self._small.content[self.reached - self._end :]
        count = min(len(view), len(rest))
        view[:count] = rest[:count]
        self.reached += count
        await trio.lowlevel.checkpoint_if_cancelled()
        return count

    async def valid(self) -> bool:
        """What the source says; where it fails before it has said it, the next that has the content is asked."""
        problems: list[str] = []
        while self._node is not None and self._source is not None:
            node, source = self._node, self._source
            try:
                # Where another has failed already, a node that says no may never have had the content.
                valid = await node.ask(source.valid)
                if valid or not problems:
                    return valid
                problems.append(f"{node.name}: has no good content")
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
            await self._leave()
            await self._next(0, problems)
        if problems and self._small is None:
            raise ConnectionLost("no node could vouch for the content: " + "; ".join(problems))
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._small is not None and self._small.valid

    async def finish(self, received: bool) -> None:
        if self._node is not None and self._source is not None:
            source = self._source
            await self._node.ask(source.finish, received)

    async def aclose(self) -> None:
        await self._leave()
        await trio.lowlevel.checkpoint_if_cancelled()
