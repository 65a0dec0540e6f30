"""Moving content: from a service into a file, from a file into a service, from one service into another.

All three resume. What an earlier transfer left, in the partial of a file or in the service that receives, is not sent
again; and where a connection is lost in the middle, the transfer goes on over a new one at the offset reached. What
`retrieve` receives is verified against its key before it gets its name. What `send` and `copy` deliver is verified by
the service that receives it.

Memory is two blocks a transfer, whatever the content (see `p2pannex.transports.pump`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, NotStored, Service, Stored, Upload
from p2pannex.transfer.files import Path, ReceivingFile, SendingFile
from p2pannex.transfer.progress import Progress, Reporter, Transferred
from p2pannex.transports.pump import move

T = TypeVar("T")

ATTEMPTS = 3
"""How many connections a transfer may lose, less one, before it fails."""


class NotPresent(RemoteError):
    """The service does not have the content."""


class WrongContent(RemoteError):
    """These bytes are not the content of the key: another size, or another digest."""


class _Attempts:
    """Counts the connections that were lost in the middle. Those that never came up are not tried again here."""

    def __init__(self, attempts: int) -> None:
        self._left = attempts
        self.began = False

    def lost(self, error: ConnectionLost) -> None:
        """Raise the error, unless another attempt is due."""
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
    """Put the content of `key` into the file `path`, all of it or nothing (protocol-spec section 8).

    `file` is the name that the content has in the client's work tree, a hint to the service. An existing `path` is
    replaced with `overwrite` only, and as late as possible. With `durable` the content is on disk when this returns.

    What was received when this ends early stays beside `path` (see `p2pannex.transfer.files.partial_path`), and the
    next call goes on from there; a partial whose bytes turn out not to be the key's is deleted. Keys that say nothing
    of their content (WORM, URL) are verified by their size, where they tell it, and by the service's word.

    Raises NotPresent, WrongContent, other RemoteErrors; ConnectionLost after `attempts` connections; OSError for the
    file, FileExistsError if it is there.
    """
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
                # What the earlier transfer left may be what is wrong: after a power cut a file can hold zeros where
                # bytes were on their way to the disk.
                resumed = False
                await target.restart()
        await target.commit(durable=durable)


def _complete(target: ReceivingFile) -> bool:
    """Whether an earlier transfer left nothing to do but to give the content its name."""
    verifier = target.verifier
    return verifier.conclusive and target.reached > 0 and verifier.size == target.reached and not target.wrong


async def _receive(
    service: Service, key: Key, target: ReceivingFile, file: bytes | None, lost: _Attempts, reporter: Reporter
) -> None:
    """One connection's part of `retrieve`: returns when the content is whole and verified."""
    size = target.verifier.size
    async with await service.get(key, offset=target.reached, file=file) as download:
        lost.began = True
        if size is not None and target.reached + download.length > size:
            raise WrongContent(f"{_who(service)} announces {target.reached + download.length} bytes for {key}")
        if download.length:
            reporter.begin(target.reached, target.reached + download.length)
        await move(download.length, download.readinto, target.send_all, reporter.moved)
        valid = await download.valid()
        if not valid and not download.length:
            await _finish(download, received=False)
            raise NotPresent(f"{_who(service)} does not have {key}")
        # A digest that fits outweighs the sender's doubt. Without one, its word is all there is.
        if target.wrong or not (valid or target.verifier.conclusive):
            await _finish(download, received=False)
            raise WrongContent(f"what {_who(service)} sent is not the content of {key}; it was not kept")
        await _finish(download, received=True)


async def _finish(download: Download, *, received: bool) -> None:
    try:
        await download.finish(received)
    except ConnectionLost:
        pass  # all that it had to give is here


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

    The service verifies it. If the file changes meanwhile the service is told that the bytes may be wrong; it then
    stores them only where their digest fits. Raises WrongContent, before anything is sent, where the file's size is
    not the key's; other RemoteErrors; ConnectionLost after `attempts` connections; OSError for the file.
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
        return await _turn_down(
            upload, WrongContent(f"{_who(service)} kept {upload.offset} bytes of {key}, the file has {source.size}")
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
    """Store in `target` what `source` has of `key`. Nothing is kept here on its way.

    When the source is lost in the middle, it is asked again and the same upload goes on; when the target is, both
    are. The source's word whether its content was good is passed on to the target, which verifies.

    Raises NotPresent, WrongContent, other RemoteErrors; ConnectionLost after `attempts` connections.
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
    """The source is lost for good, which must not be taken for the target's loss."""

    def __init__(self, error: ConnectionLost) -> None:
        super().__init__(str(error))
        self.error = error


class _Relay:
    """One upload, fed from as many downloads as it takes."""

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
            missing = NotPresent(f"{_who(self.source)} does not have {self.key}")
            if first:
                return await _turn_down(self.upload, missing)
            raise missing
        size = self.key.verifier().size
        if end != (size if self.total is None else self.total) and (size is not None or not first):
            wrong = WrongContent(f"{_who(self.source)} announces {end} bytes for {self.key}")
            if first:
                return await _turn_down(self.upload, wrong)
            raise wrong
        self.lost.began = True
        self.reporter.begin(self.reached, end)
        if first:
            self.total = end
            await self.upload.begin(download.length)

        async def readinto(view: memoryview) -> int:
            count = await self._from_source(lambda: download.readinto(view))
            if not count:
                raise _SourceLost(ConnectionLost(f"{_who(self.source)} stopped before the end of {self.key}"))
            return count

        await move(download.length, readinto, self.upload.send_all, self._moved)
        valid = await self._from_source(download.valid)
        outcome = await self.upload.finish(valid)
        await _finish(download, received=isinstance(outcome, Stored))
        return outcome

    def _moved(self, count: int) -> None:
        self.reached += count
        self.reporter.moved(count)

    async def _from_source(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except ConnectionLost as error:
            raise _SourceLost(error) from error


async def _turn_down(upload: Upload, error: RemoteError) -> Stored:
    """Leave an upload with nothing sent, in the one way that keeps the connection (protocol-spec section 9).

    Where the service had all of the content already it is stored by this; otherwise `error` is raised.
    """
    await upload.begin(0)
    outcome = await upload.finish(False)
    if isinstance(outcome, Stored):
        return outcome
    raise error


def _who(service: Service) -> str:
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
