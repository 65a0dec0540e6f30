"""The bodies of messages: a `Download` becomes a peer's body, and a peer's body goes into an `Upload`.

If the bytes come from a file, or go from one peer to another, the kernel moves them if it can. Otherwise
`p2pannex.transports.pump` does.
"""

from __future__ import annotations

from p2pannex.p2p.peer import Peer
from p2pannex.service import DirectBody, Download, Upload
from p2pannex.transports.pump import FILE_RANGE, SMALL_BODY, Progress, move


async def send(download: Download, peer: Peer, progress: Progress | None = None) -> None:
    """Send a download's bytes as the body that `peer` has announced with DATA."""
    length = download.length
    file_range = download.file_range
    if file_range is None or length <= SMALL_BODY:
        length -= await _pass(length, download.direct, peer, progress)
        await move(length, download.readinto, peer.write_body, progress)
        return
    while length:
        try:
            sent = await peer.write_file(file_range.fileno(), file_range.position, min(length, FILE_RANGE))
        except OSError:
            sent = None
        if not sent:
            # This peer cannot send files, or the file cannot be read, or it has ended early. The download continues
            # from elsewhere (a cluster has other nodes) or raises the error.
            await move(length, download.readinto, peer.write_body, progress)
            return
        file_range.advance(sent)
        length -= sent
        if progress is not None:
            progress(sent)


async def receive(length: int, peer: Peer, upload: Upload, progress: Progress | None = None) -> None:
    """Move the body that the other side of `peer` has announced into an upload."""
    length -= await _pass(length, peer, upload.direct, progress)
    await move(length, peer.read_body, upload.send_all, progress, stalls=True)


async def _pass(length: int, source: DirectBody | None, target: DirectBody | None, progress: Progress | None) -> int:
    """Move bytes from one body to the other as far as the kernel can. Returns how many were moved."""
    passed = 0
    if source is not None and target is not None and length > SMALL_BODY:
        while passed < length and (count := await source.pass_body(target, min(length - passed, FILE_RANGE))):
            passed += count
            if progress is not None:
                progress(count)
    return passed
