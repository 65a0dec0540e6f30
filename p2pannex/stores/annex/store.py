"""A store in a git-annex repository, beside git-annex itself.

Content, locks and promises are kept where git-annex looks for them and as it keeps them (`annex_layout`, `annex_locks`,
`annex_retention`), and every change is in the location log before it is reported (`annex_log`).

What is left to git-annex: files of the work tree that are unlocked are neither filled nor emptied when their content
comes and goes; ``git annex fsck`` or the next merge does that. A repository that was tuned (annex.tune) is refused.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection, Iterator
from types import TracebackType
from typing import Self

import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.config import AnnexConfig, NotAnAnnex, read_annex_config
from p2pannex.git_annex.git import Git
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Upload
from p2pannex.stores.annex.locks import KeyExclusion, LockFile, TransferClaim, require_file_locks
from p2pannex.stores.annex.log import AnnexLog
from p2pannex.stores.annex.retention import AnnexRetention
from p2pannex.stores.files.inventory import Contents, count, objects
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.background import Background
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import directory_durable
from p2pannex.system.fsync_batch import Fsyncs


class UnusableAnnex(RemoteError):
    """The directory cannot be served as a git-annex repository."""


class AnnexStore(ObjectStore):
    """The git-annex repository in `path`: its work tree, its .git, or a bare one. UnusableAnnex where it cannot be.

    Use it in ``async with``. In the block the location log is committed when nothing has changed for two seconds, and
    at its end. Without a block, `aclose` commits; content is stored and removed just as well.

    `disk_work` says how the store waits for the disk (`p2pannex.system.disk_work`): in threads if None, which is right
    for any number of clients. `clock` and `boot` are for tests that skew time.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        disk_work: DiskWork | None = None,
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
        self._annex_retention = AnnexRetention(layout, exclusion, clock, boot=boot)
        super().__init__(
            self.config.uuid,
            layout,
            exclusion,
            self._annex_retention,
            clock=clock,
            disk_reserve=self.config.disk_reserve,
            disk_work=disk_work,
        )
        self._annex_layout = layout
        self._branch = Branch(self.config.git_dir, shared_mode=layout.sharing.file_bits, disk_work=disk_work)
        self._log = AnnexLog(self._branch, self.uuid, self.present)
        self._background: Background | None = None
        self._settled = False

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
            try:
                lock = LockFile.take(path, layout, exclusive=True)
            except FileNotFoundError:
                layout.make_directories(os.path.dirname(path))  # git-annex removes directories that are empty
                continue
            return None if lock is None else TransferClaim(lock)

    def _durable(self, path: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
        if not self._settled:  # git-annex makes the directory of objects with the first of them, and fsyncs nothing
            yield from directory_durable(self._annex_layout.annex)
            self._settled = True
        yield from super()._durable(path, made)

    # The git repository -----------------------------------------------------------------------------------------

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        from p2pannex.git_annex.connect import connect

        return await connect(Git(self.config.git_dir), program, stream)

    def changes(self) -> AsyncGenerator[tuple[str, ...], None]:
        from p2pannex.git_annex.refs import changes

        return changes(Git(self.config.git_dir))

    def tokens_directory(self) -> bytes:
        """Where the tokens of its sockets are kept; git-annex keeps those of P2P networks (`git_annex.creds`)."""
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

    def prefetch_log(self, key: Key) -> None:
        self._branch.blocking.prefetch(key)

    async def changed(self, key: Key, present: bool) -> None:
        await self._log.changed(key, present)

    async def __aenter__(self) -> Self:
        if self._background is not None:
            raise RuntimeError("this store is in use in another async with block")
        self._background = Background(self._log.commit_when_idle, self._annex_retention.kept.let_go_in_time)
        await self._background.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._background is not None
        try:
            await self.aclose()
        finally:
            background, self._background = self._background, None
            await background.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Leave the directory tidy, and the log committed. Nothing happens in the background any more."""
        if self._background is not None:
            self._background.stop()
        try:
            await self._log.commit()
        finally:
            self._annex_retention.kept.close()
            await self._branch.aclose()
            await super().aclose()
