"""`copy`: a transfer of content from one service into another (see `p2pannex.transfer.transfer`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, NotStored, Service, Stored, Upload
from p2pannex.transfer.errors import NotPresent, NotStoredError, WrongContent, WrongContentNotStored
from p2pannex.transfer.progress import Progress, Reporter
from p2pannex.transfer.steps import ATTEMPTS, Attempts, end_upload, finish_download, hash_block, name_of, refusal
from p2pannex.transports.pump import move

T = TypeVar("T")


async def copy(
    source: Service,
    target: Service,
    key: Key,
    *,
    file: bytes | None = None,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
) -> Stored | AlreadyHave:
    """Copy the content of `key` from `source` to `target`, without a file on this machine.

    If the connection to the source is lost, a new download continues the same upload. If the connection to the target
    is lost, both start again at the offset that the target has reached. VALID or INVALID from the source is passed on
    to the target, which verifies the content.

    If this returns, the target has the content. `file` is the name that the content has in the client's work tree, a
    hint for both services. Raises NotPresent, WrongContent. Raises NotStoredError if the target did not store the
    content. Then the content is read from the source once more, unless the source replied INVALID, to find out whether
    it is wrong; if it is, the error is a WrongContent too. Other RemoteErrors; ConnectionLost after `attempts`
    connections.
    """
    lost = Attempts(attempts)
    reporter = Reporter(progress)
    while True:
        try:
            upload = await target.put(key, file)
            if isinstance(upload, AlreadyHave):
                return upload
            async with upload:
                relay = _Relay(source, upload, key, file, lost, reporter)
                outcome = await relay.run()
            if isinstance(outcome, Stored):
                return outcome
            if not relay.valid or await _is_wrong(source, key, file):
                raise WrongContentNotStored(
                    f"{key} was not stored: what {name_of(source)} sent is not its content", outcome
                )
            raise NotStoredError(refusal(target, key, outcome), outcome)
        except _SourceLost as error:
            raise error.error from error
        except ConnectionLost as error:
            lost.lost(error)


async def _is_wrong(source: Service, key: Key, file: bytes | None) -> bool:
    """Whether the source's content is certainly not that of the key. Reads all of it, and reports that to the source.

    A target that did not store the content does not say why: it may be wrong, or the target could not store it.
    """
    verifier = key.verifier()
    if not verifier.conclusive:
        return False
    try:
        async with await source.get(key, file=file) as download:
            await move(download.length, download.readinto, partial(hash_block, verifier))
            await download.valid()
            wrong = not verifier.valid()
            await finish_download(download, received=not wrong)
            return wrong
    except (RemoteError, ConnectionLost):
        return False


class _SourceLost(Exception):
    """The connection to the source was lost. Unlike ConnectionLost, it cannot be mistaken for one to the target."""

    def __init__(self, error: ConnectionLost) -> None:
        super().__init__(str(error))
        self.error = error


class _Relay:
    """One upload, whose bytes come from as many downloads as are needed."""

    def __init__(
        self, source: Service, upload: Upload, key: Key, file: bytes | None, lost: Attempts, reporter: Reporter
    ) -> None:
        self.source = source
        self.upload = upload
        self.key = key
        self.file = file
        self.lost = lost
        self.reporter = reporter
        self.reached = upload.offset
        self.total: int | None = None
        self.valid = True
        """Whether the source replied VALID."""

    async def run(self) -> Stored | NotStored:
        while True:
            try:
                download = await self._from_source(
                    lambda: self.source.get(self.key, offset=self.reached, file=self.file)
                )
                async with download:
                    return await self._pass_on(download)
            except _SourceLost as error:
                try:
                    self.lost.lost(error.error)
                except ConnectionLost:
                    raise error from None

    async def _pass_on(self, download: Download) -> Stored | NotStored:
        end = self.reached + download.length
        first = self.total is None
        if not download.length and not await self._from_source(download.valid):
            await finish_download(download, received=False)
            missing = NotPresent(f"{name_of(self.source)} does not have {self.key}")
            if first:
                return await end_upload(self.upload, missing)
            raise missing
        size = self.key.verifier().size
        if end != (size if self.total is None else self.total) and (size is not None or not first):
            wrong = WrongContent(f"{name_of(self.source)} announces {end} bytes for {self.key}")
            if first:
                return await end_upload(self.upload, wrong)
            raise wrong
        self.lost.began = True
        self.reporter.begin(self.reached, end)
        if first:
            self.total = end
            await self.upload.begin(download.length)

        async def readinto(view: memoryview) -> int:
            count = await self._from_source(lambda: download.readinto(view))
            if not count:
                raise _SourceLost(ConnectionLost(f"{name_of(self.source)} stopped before the end of {self.key}"))
            return count

        await move(download.length, readinto, self.upload.send_all, self._moved)
        self.valid = await self._from_source(download.valid)
        outcome = await self.upload.finish(self.valid)
        await finish_download(download, received=isinstance(outcome, Stored))
        return outcome

    def _moved(self, count: int) -> None:
        self.reached += count
        self.reporter.moved(count)

    async def _from_source(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request()
        except ConnectionLost as error:
            raise _SourceLost(error) from error
