"""A download from a cluster: one body, whichever nodes it comes from.

Where the node that it comes from fails, another goes on at the byte that was reached. The reader notices nothing but a
pause.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from p2pannex.cluster.admission import Admission
from p2pannex.cluster.node import Node
from p2pannex.keys import Key
from p2pannex.protocol.errors import ConnectionLost, RemoteError
from p2pannex.service import Download, FileRange, Service

CLOSING = 5.0
"""Seconds that closing a node's transfer may take."""


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
        self.reached = offset
        """The offset in the content of the next byte."""
        self.length = 0
        self._end = offset

    async def open(self) -> None:
        """Find the first source. Where every node says that the content is not there, this is a download of nothing;
        RemoteError where some could not be asked, so that nobody can say."""
        problems: list[str] = []
        source = await self._next(None, problems)
        if source is None:
            if problems:
                raise RemoteError("no node could give the content: " + "; ".join(problems))
            return
        self.length = source.length
        self._end = self.reached + source.length

    async def _next(self, length: int | None, problems: list[str]) -> Download | None:
        """Open the content at the next candidate that has it, with `length` bytes left where that is known."""
        for node, service in self._candidates:
            try:
                source = await self._open(node, service)
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
                continue
            self._node, self._source = node, source
            try:
                if source.length == 0 and length is None:
                    if await node.ask(source.valid):
                        return source
                elif length is None or source.length == length:
                    return source
                else:
                    problems.append(f"{node.name}: has content of another length")
            except (RemoteError, ConnectionLost) as error:
                problems.append(f"{node.name}: {error}")
            await self._leave()
        return None

    async def _open(self, node: Node, service: Service) -> Download:
        """The node's download, and our place there, where we wait for one. The last one was given back before."""
        await self._admission.enter([node])
        try:
            return await node.ask(service.get, self._key, offset=self.reached, file=self._file)
        except BaseException:
            self._admission.leave(node)
            raise

    async def _leave(self) -> None:
        node, source = self._node, self._source
        self._node = self._source = None
        if node is not None and source is not None:
            try:
                with trio.move_on_after(CLOSING, shield=True):
                    await source.aclose()
            finally:
                self._admission.leave(node)

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
        raise ConnectionLost(f"no node could go on at byte {self.reached}: " + "; ".join(problems))

    async def valid(self) -> bool:
        """What the source says; where it fails before it has said it, the next that has the content is asked."""
        if self._node is None or self._source is None:
            await trio.lowlevel.checkpoint()
            return False
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
        raise ConnectionLost("no node could vouch for the content: " + "; ".join(problems))

    async def finish(self, received: bool) -> None:
        if self._node is not None and self._source is not None:
            source = self._source
            await self._node.ask(source.finish, received)

    async def aclose(self) -> None:
        await self._leave()
        await trio.lowlevel.checkpoint_if_cancelled()
