"""A store in a git-annex repository, beside git-annex itself.

Content, locks and promises are kept where git-annex looks for them and as it keeps them (`annex_layout`, `annex_locks`,
`annex_retention`), and every change is in the location log before it is reported. The log is committed to the git-annex
branch when nothing has changed for two seconds, and when the store is closed.

What is left to git-annex: files of the work tree that are unlocked are neither filled nor emptied when their content
comes and goes; ``git annex fsck`` or the next merge does that. A repository that was tuned (annex.tune) is refused.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator

import trio

from p2pannex.branch import Branch
from p2pannex.branch.git import Git
from p2pannex.keys import Key
from p2pannex.protocol.errors import RemoteError
from p2pannex.service import AlreadyHave, Clock, SystemClock, Upload
from p2pannex.stores.annex_config import AnnexConfig, NotAnAnnex, read_annex_config
from p2pannex.stores.annex_layout import AnnexLayout
from p2pannex.stores.annex_locks import KeyExclusion, LockFile, TransferClaim, require_file_locks
from p2pannex.stores.annex_retention import AnnexRetention
from p2pannex.stores.contents import Contents, count, objects
from p2pannex.stores.objects import ObjectStore

IDLE = 2.0
"""Seconds without a change after which the location log is committed."""


class UnusableAnnex(RemoteError):
    """The directory cannot be served as a git-annex repository."""


class AnnexStore(ObjectStore):
    """The git-annex repository in `path`: its work tree, its .git, or a bare one. UnusableAnnex where it cannot be.

    `single_client` says that this process serves one client and no other. `clock` and `boot` are for tests that skew
    time. Close it with `aclose`, or use it as an ``async with`` block: that commits
    the location log.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        single_client: bool = False,
        clock: Clock | None = None,
        boot: str | None = None,
    ) -> None:
        require_file_locks()
        self.path = os.path.abspath(os.fsencode(path))
        try:
            self.config: AnnexConfig = read_annex_config(self.path)
        except NotAnAnnex as error:
            raise UnusableAnnex(str(error)) from None
        layout = AnnexLayout(self.config)
        clock = clock or SystemClock()
        exclusion = KeyExclusion(layout)
        self._retention = AnnexRetention(layout, exclusion, clock, boot=boot)
        super().__init__(
            self.config.uuid,
            layout,
            exclusion,
            self._retention,
            clock=clock,
            disk_reserve=self.config.disk_reserve,
            single_client=single_client,
        )
        self._annex_layout = layout
        self._branch = Branch(self.config.git_dir, shared_mode=layout.sharing.file_bits)
        self._last_change = 0.0
        self._committer: trio.CancelScope | None = None
        self._committing = trio.Lock()

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if self.config.secure_hashes_only and not key.cryptographically_secure:
            raise RemoteError(
                f"annex.securehashesonly is set here: content whose {key.backend} key cannot verify it is not stored"
            )
        return await super().put(key, file)

    def claim(self, key: Key) -> TransferClaim | None:
        layout = self._annex_layout
        path = layout.transfer_lock(key)
        while True:
            layout.make_directories(os.path.dirname(path))
            layout.make_directories(os.path.dirname(layout.partial(key)))
            try:
                lock = LockFile.take(path, layout, exclusive=True)
            except FileNotFoundError:
                continue  # git-annex removes directories of its own that are empty
            return None if lock is None else TransferClaim(lock)

    # The git repository -----------------------------------------------------------------------------------------

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        from p2pannex.stores.annex_connect import connect

        return await connect(Git(self.config.git_dir), program, stream)

    def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        from p2pannex.stores.annex_refs import changes

        return changes(Git(self.config.git_dir))

    def tokens_directory(self) -> bytes:
        """Where the tokens of its sockets are kept. Those of P2P networks are git-annex's: `p2pannex.creds`."""
        self._annex_layout.make_directories(self._annex_layout.own)
        return self._annex_layout.own

    @property
    def top(self) -> bytes:
        """The top of the work tree; the repository itself where it is bare."""
        return self.config.git_dir if self.config.bare else os.path.dirname(self.config.git_dir)

    def keys(self) -> Iterator[Key]:
        """The keys whose content is here. It reads directories as it goes, and blocks."""
        for key, _ in objects(self.layout.root):
            yield key

    def contents(self) -> Contents:
        """Count what is here. It reads every directory, and blocks."""
        return count(self.layout.root, os.path.join(self._annex_layout.annex, b"tmp"))

    # The location log -------------------------------------------------------------------------------------------

    async def changed(self, key: Key) -> None:
        """Log whether the content is here. Looked at once more afterwards: whoever stored and removed it at the same
        time may have logged in another order."""
        with trio.CancelScope(shield=True):
            while True:
                present = self.present(key)
                await self._log(key, present)
                if self.present(key) == present:
                    break
        self._last_change = trio.current_time()
        if self._committer is None:
            self._committer = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._commit_when_idle, self._committer)

    async def _log(self, key: Key, present: bool) -> None:
        if self.single_client:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._branch.blocking.log_location(key, self.uuid, present)
        else:
            await self._branch.log_location(key, self.uuid, present)

    async def _commit_when_idle(self, scope: trio.CancelScope) -> None:
        with scope:
            last = None
            while last != self._last_change:
                last = self._last_change
                await trio.sleep_until(last + IDLE)
        if not scope.cancelled_caught and self._committer is scope:
            self._committer = None
            try:
                await self._commit()
            except (RemoteError, OSError):
                pass  # the journal keeps it, and the next commit takes it along

    async def _commit(self) -> None:
        with trio.CancelScope(shield=True):
            async with self._committing:
                await self._branch.commit()

    async def aclose(self) -> None:
        """Leave the directory tidy, and the log committed."""
        committer, self._committer = self._committer, None
        try:
            if committer is not None:
                committer.cancel()
                await self._commit()
            with trio.CancelScope(shield=True):
                async with self._committing:
                    pass  # the one that was begun when the store was idle is done
        finally:
            self._retention.close()
            await self._branch.aclose()
            await super().aclose()
