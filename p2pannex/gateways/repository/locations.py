"""Logs in the gateway's branch which nodes stored or removed content through this gateway.

As git-annex does, the gateway logs each node that stored or removed content, whichever client requested it. It never
logs a cluster, which has no content of its own. The line is in the journal before the client gets its reply, so that
every later reader of this repository sees it. It is committed when nothing has changed for a while, and at the end.

A wrong log loses no content: a client that removes a copy first locks other copies, or checks that they are present.

Before a request to store or to remove goes to the nodes, `NodeLog.require_writable` finds out whether the log could be
written. If it still cannot be written after the nodes have changed, the client gets an error. What could not be logged
is remembered, and logged before the next commit. If the process ends before that, the client tries again, and every
reply of the nodes is logged, also one that says that the content was stored or removed already.

**A remembered change is never logged after a later one.** One lock makes tasks write to the log one after the other, in
the order of their calls. With the lock, a task that could log a change forgets what was remembered of the same content
and repository, and one that could not replaces it. So what is remembered is always the last of those changes. `commit`
takes the lock for each remembered change, and reads what it is only then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import trio

from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.idle_commits import IdleCommits
from p2pannex.git_annex.branch.owed import LOG_ROOM, OWED_MAX, check_owed
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, DirectBody, Download, Lock, NotStored, Removal, Service, Stored, Upload


class NodeLog:
    """The location log of the `members`. Nothing is logged about other repositories."""

    def __init__(self, branch: Branch, members: Iterable[str]) -> None:
        self.members = frozenset(members)
        self._branch = branch
        self._dirty = False
        self._owed: dict[tuple[Key, str], bool] = {}
        """What could not be logged yet: whether that repository has that content."""
        self._writing = trio.Lock()
        self._idle = IdleCommits(self.commit)

    def require_writable(self, key: Key, present: bool) -> None:
        """RemoteError if it could not be logged now that the content is present, or not."""
        check_owed(len(self._owed), OWED_MAX)
        self._branch.require_writable(key, room=LOG_ROOM if present else 0)

    def prefetch(self, key: Key) -> None:
        """Prepare for a `record` of this key, which will probably follow."""
        self._branch.blocking.prefetch(key)

    async def record(self, key: Key, uuids: Iterable[str], present: bool) -> None:
        """Log that repositories have the content, or no longer have it. RemoteError if that fails."""
        uuids = self.members.intersection(uuids)
        if not uuids:
            return
        try:
            with trio.CancelScope(shield=True):  # what is to be logged has already happened
                async with self._turn():
                    await self._log(key, uuids, present)
        finally:
            self._idle.changed()

    async def _log(self, key: Key, uuids: Iterable[str], present: bool) -> None:
        """Log it, or remember it if that fails. Only with `_turn`, because it replaces what was remembered before."""
        changes = [(key, uuid) for uuid in uuids]
        try:
            self._dirty |= await self._branch.log_locations(key, [uuid for _, uuid in changes], present)
        except BaseException:
            self._owed.update(dict.fromkeys(changes, present))
            raise
        for change in changes:
            self._owed.pop(change, None)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        try:
            self._writing.acquire_nowait()  # without a checkpoint, if no other task writes
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            yield
        finally:
            self._writing.release()

    async def commit_when_idle(self) -> None:
        """Commit each time that nothing has changed for a while. Runs until cancelled."""
        await self._idle.run()

    async def commit(self) -> None:
        """Commit the changes since the last commit, if there are any. A cancellation waits until this is done."""
        with trio.CancelScope(shield=True):
            for key, uuid in list(self._owed):
                async with self._turn():
                    present = self._owed.get((key, uuid))
                    if present is not None:  # it was not logged or replaced while this task waited
                        await self._log(key, [uuid], present)
            if self._dirty:
                self._dirty = False
                try:
                    await self._branch.commit()
                except BaseException:
                    self._dirty = True
                    raise


class LoggedUpload(Upload):
    """An upload whose outcome is logged before it is returned. `stored` are the repositories that have the content when
    the outcome is Stored, besides those that Stored names."""

    def __init__(self, inner: Upload, key: Key, log: NodeLog, stored: frozenset[str]) -> None:
        self._inner = inner
        self._key = key
        self._log = log
        self._stored = stored
        self.offset = inner.offset

    @property
    def direct(self) -> DirectBody | None:
        return self._inner.direct

    async def begin(self, length: int) -> None:
        await self._inner.begin(length)

    async def send_all(self, view: memoryview) -> None:
        await self._inner.send_all(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        return await self._logged(await self._inner.finish(valid))

    async def data_present(self) -> Stored | NotStored:
        return await self._logged(await self._inner.data_present())

    async def _logged(self, outcome: Stored | NotStored) -> Stored | NotStored:
        holders = outcome.uuids | (self._stored if isinstance(outcome, Stored) else frozenset())
        await self._log.record(self._key, holders, True)
        return outcome

    async def aclose(self) -> None:
        await self._inner.aclose()


class LoggedRemote(Service):
    """One repository that clients reach through this one. It gets their requests, and its stores and removals are
    logged."""

    def __init__(self, inner: Service, log: NodeLog) -> None:
        self.uuid = inner.uuid
        self._inner = inner
        self._log = log

    async def check_present(self, key: Key) -> bool:
        return await self._inner.check_present(key)

    async def lock(self, key: Key) -> Lock:
        return await self._inner.lock(key)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        self._log.require_writable(key, False)
        self._log.prefetch(key)
        removal = await self._inner.remove(key, before=before)
        gone = removal.uuids | ({self.uuid} if removal.ok else frozenset())
        await self._log.record(key, gone, False)
        return removal

    async def timestamp(self) -> int:
        return await self._inner.timestamp()

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        self._log.require_writable(key, True)
        answer = await self._inner.put(key, file)
        own = frozenset({self.uuid})
        if isinstance(answer, Upload):
            return LoggedUpload(answer, key, self._log, own)
        await self._log.record(key, answer.uuids | own, True)
        return answer

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        return await self._inner.get(key, offset=offset, file=file)

    @asynccontextmanager
    async def pinned(self) -> AsyncGenerator[Service, None]:
        async with self._inner.pinned() as inner:
            yield LoggedRemote(inner, self._log)

    async def version(self) -> int:
        return await self._inner.version()

    def bypassing(self, uuids: frozenset[str]) -> Service:
        inner = self._inner.bypassing(uuids)
        return self if inner is self._inner else LoggedRemote(inner, self._log)

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        return await self._inner.connect(program, stream)

    def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        return self._inner.changes()

    async def aclose(self) -> None:
        await self._inner.aclose()
