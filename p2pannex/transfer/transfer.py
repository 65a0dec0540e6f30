"""Transfers of content: `retrieve` from a service into a file, `send` from a file into a service. `copy`, from one
service into another, is in `p2pannex.transfer.copying`.

All three resume. Bytes that an earlier transfer left, in a partial file or in the receiving service, are not sent
again. If a connection is lost during the transfer, it continues over a new connection at the offset reached.

All content is verified against its key. `retrieve` does that before it gives the file its name; for `send` and `copy`
the receiving service does.

A transfer needs the memory of two blocks, whatever the size of the content (see `p2pannex.transports.pump`).
"""

from __future__ import annotations

import os
from contextlib import closing

from p2pannex.errors import ConnectionLost, RemoteError, WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service, Stored, Upload
from p2pannex.transfer.errors import NotPresent, NotStoredError, WrongContentNotStored
from p2pannex.transfer.file_work import Path
from p2pannex.transfer.progress import Progress, Reporter, Transferred
from p2pannex.transfer.receiving_file import ReceivingFile
from p2pannex.transfer.sending_file import SendingFile
from p2pannex.transfer.steps import ATTEMPTS, Attempts, end_upload, finish_download, hash_block, name_of, refusal
from p2pannex.transports.pump import BLOCK, move


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
    `p2pannex.transfer.receiving_file.partial_path`), and the next call resumes from it. If the bytes turn out not to be
    the content of the key, the partial file is deleted. Keys without a digest (WORM, URL) are verified by their size,
    if they have one, and by the service's VALID.

    Raises RemoteError, before anything is received, if the key has a digest that cannot be computed here
    (`Key.missing_hash`). Raises NotPresent, WrongContent, other RemoteErrors; ConnectionLost after `attempts`
    connections; OSError for the file, FileExistsError if it exists and `overwrite` is not set.
    """
    if (missing := key.missing_hash) is not None:
        raise RemoteError(missing)
    with closing(await ReceivingFile.open(path, key, overwrite=overwrite)) as target:
        lost = Attempts(attempts)
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
    service: Service, key: Key, target: ReceivingFile, file: bytes | None, lost: Attempts, reporter: Reporter
) -> None:
    """The part of `retrieve` over one connection. Returns when the content is complete and verified."""
    size = target.verifier.size
    async with await service.get(key, offset=target.reached, file=file) as download:
        lost.began = True
        if size is not None and download.length and target.reached + download.length != size:
            raise WrongContent(f"{name_of(service)} announces {target.reached + download.length} bytes for {key}")
        if download.length:
            reporter.begin(target.reached, target.reached + download.length)
        await move(download.length, download.readinto, target.send_all, reporter.moved)
        valid = await download.valid()
        if not valid and not download.length:
            await finish_download(download, received=False)
            raise NotPresent(f"{name_of(service)} does not have {key}")
        # If the digest is right, the content is accepted although the sender replied INVALID. Without a digest, only
        # the sender's VALID shows that the content is good.
        if target.wrong or not (valid or target.verifier.conclusive):
            await finish_download(download, received=False)
            raise WrongContent(f"what {name_of(service)} sent is not the content of {key}; it was not kept")
        await finish_download(download, received=True)


async def send(
    service: Service,
    key: Key,
    path: Path,
    *,
    file: bytes | None = None,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
) -> Stored | AlreadyHave:
    """Store the file `path` in a service as the content of `key` (protocol-spec section 9).

    If this returns, the service has the content. `file` is the name that the content has in the client's work tree, a
    hint for the service. The service verifies the content. If the file changes during the transfer, the client sends
    INVALID; the service then stores the content only if its digest is right.

    Raises WrongContent, before any byte is sent, if the file's size is not that of the key. Raises NotStoredError if
    the service did not store the content; it is a WrongContent too if the file is not the content of the key, or
    changed. Other RemoteErrors; ConnectionLost after `attempts` connections; OSError for the file.
    """
    with closing(SendingFile(path)) as source:
        size = key.verifier().size
        if size is not None and source.size != size:
            raise WrongContent(f"the file has {source.size} bytes, {key} has {size}")
        lost = Attempts(attempts)
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


async def _send_file(service: Service, key: Key, source: SendingFile, upload: Upload, reporter: Reporter) -> Stored:
    if upload.offset > source.size:
        return await end_upload(
            upload, WrongContent(f"{name_of(service)} kept {upload.offset} bytes of {key}, the file has {source.size}")
        )
    source.position = upload.offset
    reporter.begin(upload.offset, source.size)
    length = source.size - upload.offset
    await upload.begin(length)
    await move(length, source.readinto, upload.send_all, reporter.moved)
    outcome = await upload.finish(source.unchanged())
    if isinstance(outcome, Stored):
        return outcome
    name = os.fsdecode(source.path)
    if not source.unchanged():
        raise WrongContentNotStored(f"{key} was not stored: {name} changed while it was sent", outcome)
    if await _is_wrong(source, key):
        raise WrongContentNotStored(f"{key} was not stored: {name} is not its content", outcome)
    raise NotStoredError(refusal(service, key, outcome), outcome)


async def _is_wrong(source: SendingFile, key: Key) -> bool:
    """Whether the file is certainly not the content of `key`. Reads all of it."""
    verifier = key.verifier()
    if not verifier.conclusive:
        return False
    source.position = 0
    block = memoryview(bytearray(BLOCK))
    while source.position < source.size:
        count = await source.readinto(block)
        await hash_block(verifier, block[:count])
    return not verifier.valid()


__all__ = [
    "ATTEMPTS",
    "NotPresent",
    "NotStoredError",
    "Progress",
    "Transferred",
    "WrongContent",
    "retrieve",
    "send",
]
