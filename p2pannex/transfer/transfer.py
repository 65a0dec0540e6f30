"""Transfers of content: `retrieve` from a service into a file, `send` from a file into a service, and `copy` from one
service into another.

All three resume. Bytes that an earlier transfer left, in a partial file or in the receiving service, are not sent
again. If a connection is lost during the transfer, it continues over a new connection at the offset reached.

All content is verified against its key. `retrieve` does that before it gives the file its name; for `send` and `copy`
the receiving service does.

A transfer needs the memory of two blocks, whatever the size of the content (see `p2pannex.transports.pump`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from p2pannex.errors import ConnectionLost, RemoteError, WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, NotStored, Service, Stored, Upload
from p2pannex.transfer.files import Path, ReceivingFile, SendingFile
from p2pannex.transfer.progress import Progress, Reporter, Transferred
from p2pannex.transports.pump import move

T = TypeVar("T")

ATTEMPTS = 3
"""A transfer fails when it has lost this many connections."""


class NotPresent(RemoteError):
    """The service does not have the content."""


class _Attempts:
    """Counts lost connections. There are further attempts only if a transfer has begun over one of them."""

    def __init__(self, attempts: int) -> None:
        self._left = attempts
        self.began = False

    def lost(self, error: ConnectionLost) -> None:
        """Raise the error, unless another attempt is to be made."""
        self._left -= 1
        if not self.began or self._left <= 0:
            raise error


async def retrieve(
    service: Service,
    key: Key,
    path: Path,
    *,
    file: bytes | None = None,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
    durable: bool = True,
    overwrite: bool = False,
) -> None:
    """Get the content of `key` into the file `path`, completely or not at all (protocol-spec section 8).

    `file` is the name that the content has in the client's work tree, a hint for the service. An existing file `path`
    is replaced only with `overwrite`, and only when the new content is complete. With `durable` the content is on disk
    when this returns.

    If the transfer is interrupted, the bytes received so far stay in a partial file beside `path` (see
    `p2pannex.transfer.files.partial_path`), and the next call resumes from it. If the bytes turn out not to be the
    content of the key, the partial file is deleted. Keys without a digest (WORM, URL) are verified by their size, if
    they have one, and by the service's VALID.

    Raises RemoteError, before anything is received, if the key has a digest that cannot be computed here
    (`Key.missing_hash`). Raises NotPresent, WrongContent, other RemoteErrors; ConnectionLost after `attempts`
    connections; OSError for the file, FileExistsError if it exists and `overwrite` is not set.
    """
    if (missing := key.missing_hash) is not None:
        raise RemoteError(missing)
    with await ReceivingFile.open(path, key, overwrite=overwrite) as target:
        lost = _Attempts(attempts)
        reporter = Reporter(progress)
        resumed = target.reached > 0
        while not _complete(target):
            try:
                await _receive(service, key, target, file, lost, reporter)
                break
            except ConnectionLost as error:
                lost.lost(error)
            except WrongContent:
                if not resumed:
                    target.discard()
                    raise
                # The bytes from the earlier transfer may be the wrong ones: after a power failure a file can have
                # zeros in place of bytes that were not on disk yet. So try once more from the beginning.
                resumed = False
                await target.restart()
        await target.commit(durable=durable)


def _complete(target: ReceivingFile) -> bool:
    """Whether an earlier transfer received all of the content, so that only its name is missing."""
    verifier = target.verifier
    return verifier.conclusive and target.reached > 0 and verifier.size == target.reached and not target.wrong


async def _receive(
    service: Service, key: Key, target: ReceivingFile, file: bytes | None, lost: _Attempts, reporter: Reporter
) -> None:
    """The part of `retrieve` over one connection. Returns when the content is complete and verified."""
    size = target.verifier.size
    async with await service.get(key, offset=target.reached, file=file) as download:
        lost.began = True
        if size is not None and download.length and target.reached + download.length != size:
            raise WrongContent(f"{_name_of(service)} announces {target.reached + download.length} bytes for {key}")
        if download.length:
            reporter.begin(target.reached, target.reached + download.length)
        await move(download.length, download.readinto, target.send_all, reporter.moved)
        valid = await download.valid()
        if not valid and not download.length:
            await _finish(download, received=False)
            raise NotPresent(f"{_name_of(service)} does not have {key}")
        # If the digest is right, the content is accepted although the sender replied INVALID. Without a digest, only
        # the sender's VALID shows that the content is good.
        if target.wrong or not (valid or target.verifier.conclusive):
            await _finish(download, received=False)
            raise WrongContent(f"what {_name_of(service)} sent is not the content of {key}; it was not kept")
        await _finish(download, received=True)


async def _finish(download: Download, *, received: bool) -> None:
    try:
        await download.finish(received)
    except ConnectionLost:
        pass  # the whole content has arrived already


async def send(
    service: Service,
    key: Key,
    path: Path,
    *,
    file: bytes | None = None,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
) -> Stored | NotStored | AlreadyHave:
    """Store the file `path` in a service as the content of `key` (protocol-spec section 9).

    `file` is the name that the content has in the client's work tree, a hint for the service. The service verifies the
    content. If the file changes during the transfer, the client sends INVALID; the service then stores the content only
    if its digest is right.

    Raises WrongContent, before any byte is sent, if the file's size is not that of the key; other RemoteErrors;
    ConnectionLost after `attempts` connections; OSError for the file.
    """
    with SendingFile(path) as source:
        size = key.verifier().size
        if size is not None and source.size != size:
            raise WrongContent(f"the file has {source.size} bytes, {key} has {size}")
        lost = _Attempts(attempts)
        reporter = Reporter(progress)
        while True:
            try:
                upload = await service.put(key, file)
                if isinstance(upload, AlreadyHave):
                    return upload
                lost.began = True
                async with upload:
                    return await _send_file(service, key, source, upload, reporter)
            except ConnectionLost as error:
                lost.lost(error)


async def _send_file(
    service: Service, key: Key, source: SendingFile, upload: Upload, reporter: Reporter
) -> Stored | NotStored:
    if upload.offset > source.size:
        return await _end_upload(
            upload, WrongContent(f"{_name_of(service)} kept {upload.offset} bytes of {key}, the file has {source.size}")
        )
    source.position = upload.offset
    reporter.begin(upload.offset, source.size)
    length = source.size - upload.offset
    await upload.begin(length)
    await move(length, source.readinto, upload.send_all, reporter.moved)
    return await upload.finish(source.unchanged())


async def copy(
    source: Service,
    target: Service,
    key: Key,
    *,
    file: bytes | None = None,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
) -> Stored | NotStored | AlreadyHave:
    """Copy the content of `key` from `source` to `target`, without a file on this machine.

    If the connection to the source is lost, a new download continues the same upload. If the connection to the target
    is lost, both start again at the offset that the target has reached. VALID or INVALID from the source is passed on
    to the target, which verifies the content.

    `file` is the name that the content has in the client's work tree, a hint for both services. Raises NotPresent,
    WrongContent, other RemoteErrors; ConnectionLost after `attempts` connections.
    """
    lost = _Attempts(attempts)
    reporter = Reporter(progress)
    while True:
        try:
            upload = await target.put(key, file)
            if isinstance(upload, AlreadyHave):
                return upload
            async with upload:
                return await _Relay(source, upload, key, file, lost, reporter).run()
        except _SourceLost as error:
            raise error.error from error
        except ConnectionLost as error:
            lost.lost(error)


class _SourceLost(Exception):
    """The connection to the source was lost. Unlike ConnectionLost, it cannot be mistaken for one to the target."""

    def __init__(self, error: ConnectionLost) -> None:
        super().__init__(str(error))
        self.error = error


class _Relay:
    """One upload, whose bytes come from as many downloads as are needed."""

    def __init__(
        self, source: Service, upload: Upload, key: Key, file: bytes | None, lost: _Attempts, reporter: Reporter
    ) -> None:
        self.source = source
        self.upload = upload
        self.key = key
        self.file = file
        self.lost = lost
        self.reporter = reporter
        self.reached = upload.offset
        self.total: int | None = None

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
            await _finish(download, received=False)
            missing = NotPresent(f"{_name_of(self.source)} does not have {self.key}")
            if first:
                return await _end_upload(self.upload, missing)
            raise missing
        size = self.key.verifier().size
        if end != (size if self.total is None else self.total) and (size is not None or not first):
            wrong = WrongContent(f"{_name_of(self.source)} announces {end} bytes for {self.key}")
            if first:
                return await _end_upload(self.upload, wrong)
            raise wrong
        self.lost.began = True
        self.reporter.begin(self.reached, end)
        if first:
            self.total = end
            await self.upload.begin(download.length)

        async def readinto(view: memoryview) -> int:
            count = await self._from_source(lambda: download.readinto(view))
            if not count:
                raise _SourceLost(ConnectionLost(f"{_name_of(self.source)} stopped before the end of {self.key}"))
            return count

        await move(download.length, readinto, self.upload.send_all, self._moved)
        valid = await self._from_source(download.valid)
        outcome = await self.upload.finish(valid)
        await _finish(download, received=isinstance(outcome, Stored))
        return outcome

    def _moved(self, count: int) -> None:
        self.reached += count
        self.reporter.moved(count)

    async def _from_source(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request()
        except ConnectionLost as error:
            raise _SourceLost(error) from error


async def _end_upload(upload: Upload, error: RemoteError) -> Stored:
    """End an upload without sending bytes: with an empty body and INVALID (protocol-spec section 9).

    No other way keeps the connection open. If the service has kept all of the content from an earlier upload, it stores
    the content now; otherwise `error` is raised.
    """
    await upload.begin(0)
    outcome = await upload.finish(False)
    if isinstance(outcome, Stored):
        return outcome
    raise error


def _name_of(service: Service) -> str:
    return f"repository {service.uuid}"


__all__ = [
    "ATTEMPTS",
    "NotPresent",
    "Progress",
    "Transferred",
    "WrongContent",
    "copy",
    "retrieve",
    "send",
]
