"""`AnnexStore`: a store in a git-annex repository, which git-annex may use at the same time.

Content, locks and timestamps are in git-annex's own files and formats (`git_annex/layout.py`, `locks.py`,
`retention.py`). Every change is written to the location log before it is reported (`log.py`).

One thing is left to git-annex: when content is stored or removed, the unlocked files of the work tree are not updated.
``git annex fsck`` or the next merge does that. Repositories with annex.tune settings are not supported.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.config import AnnexConfig, NotAnAnnex, read_annex_config
from p2pannex.git_annex.git import Git
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.git_annex.values import parse_count
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Removal, Upload
from p2pannex.stores.annex.locks import KeyExclusion, LockFile, TransferClaim, require_file_locks
from p2pannex.stores.annex.log import AnnexLog
from p2pannex.stores.annex.retention import AnnexRetention
from p2pannex.stores.files.inventory import Contents, count, objects
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.files.retention import LOCKS, LOCKS_PER_KEY, LockLimits
from p2pannex.system.background import Background
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.disk_work import DiskWork
from p2pannex.system.durability import directory_durable, names_durable
from p2pannex.system.fsync_batch import Fsyncs, run_blocking
from p2pannex.system.writers_only import limit_to_writers


class UnusableAnnex(RemoteError):
    """The directory cannot be served as a git-annex repository. The text is one line that says what to do."""


class AnnexStore(ObjectStore):
    """The git-annex repository in `path`: a work tree, its ``.git``, or a bare repository.

    Use it as an ``async with`` block: during the block the location log is committed when nothing has changed for two
    seconds, and once more at the end. Without a block, only `aclose` commits; the caller must await it.

    disk_work: how the store waits for the disk (`p2pannex.system.disk_work`). None means in threads, which is right for
        any number of clients.
    clock, boot: the clocks and the boot id, for tests that skew time.

    UnusableAnnex if the repository cannot be served.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        disk_work: DiskWork | None = None,
        clock: Clock | None = None,
        boot: str | None = None,
    ) -> None:
        self.path = os.path.abspath(os.fsencode(path))
        try:
            self.config: AnnexConfig = read_annex_config(self.path)
        except NotAnAnnex as error:
            raise UnusableAnnex(str(error)) from None
        require_file_locks(self.config)
        layout = AnnexLayout(self.config)
        with suppress(OSError):  # the next request reports what is wrong with the disk
            for path in (layout.own, os.path.join(layout.annex, b"journal.lck")):
                limit_to_writers(path)
        clock = clock or SystemClock()
        exclusion = KeyExclusion(layout)
        values = self.config.values
        limits = LockLimits(
            parse_count(values.get("p2pannex.maxlocksperkey"), LOCKS_PER_KEY),
            parse_count(values.get("p2pannex.maxlocks"), LOCKS),
        )
        self._annex_retention = AnnexRetention(layout, exclusion, clock, boot=boot, limits=limits)
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
        self._branch = Branch.of(self.config, disk_work=disk_work)
        self._log = AnnexLog(self._branch, self.uuid, self.present)
        self._background: Background | None = None
        self._settled = False

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if self.config.secure_hashes_only and not key.cryptographically_secure:
            raise RemoteError(
                f"annex.securehashesonly is set in this repository, and {key.backend} keys have no secure hash; "
                "use another backend, such as SHA256E"
            )
        return await super().put(key, file)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        if self.config.values.get("annex.trashbin"):
            raise RemoteError(
                "annex.trashbin is set here, which is not supported: content that is removed would not be moved there; "
                "remove it with git annex drop"
            )
        return await super().remove(key, before=before)

    def claim(self, key: Key) -> TransferClaim | None:
        layout = self._annex_layout
        path = layout.transfer_lock(key)
        while True:
            try:
                lock = LockFile.take(path, layout, exclusive=True)
            except FileNotFoundError:
                layout.make_directories(os.path.dirname(path))  # git-annex removes empty directories
                continue
            return None if lock is None else TransferClaim(lock)

    def _durable(self, path: bytes, made: Collection[bytes] = ()) -> Fsyncs[None]:
        if not self._settled:  # git-annex may have made the directory of objects, and does not fsync its name
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
        """The directory of the tokens for clients that connect over sockets.

        The tokens of P2P networks are in git-annex's own directory (`git_annex.creds`).
        """
        own = self._annex_layout.own
        with disk_errors("cannot make the directory of the tokens"):
            if self._annex_layout.make_directories(own):
                run_blocking(names_durable(own, self.config.git_dir))
        return own

    @property
    def top(self) -> bytes:
        """The top of the work tree, or the repository itself if it is bare."""
        return self.config.top

    def keys(self) -> Iterator[Key]:
        """The keys whose content is present. The iterator reads directories as it goes, and blocks."""
        for key, _ in objects(self.layout.root):
            yield key

    def contents(self) -> Contents:
        """How much content the store has. It reads every directory, and blocks."""
        return count(self.layout.root, os.path.join(self._annex_layout.annex, b"tmp"))

    # The location log -------------------------------------------------------------------------------------------

    def prefetch_log(self, key: Key) -> None:
        self._branch.blocking.prefetch(key)

    def require_log(self, key: Key, present: bool) -> None:
        self._log.require_writable(key, present)

    async def changed(self, key: Key, present: bool) -> None:
        await self._log.changed(key, present)

    async def unchanged(self, key: Key, present: bool) -> None:
        await self._log.settle(key, present)

    async def __aenter__(self) -> Self:
        if self._background is not None:
            raise RuntimeError("this store is in use in another async with block")
        self._background = Background(
            self._log.commit_when_idle,
            self._annex_retention.abandoned.release_when_expired,
            self._annex_retention.sweep_regularly,
        )
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
        """Commit the log, end the background tasks, and remove directories that have become empty."""
        if self._background is not None:
            self._background.stop()
        try:
            await self._log.commit()
        finally:
            self._annex_retention.abandoned.close()
            await self._branch.aclose()
            await super().aclose()
