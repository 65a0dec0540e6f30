"""The bodies of messages: a `Download` into a peer's body, and a peer's body into an `Upload`.

`send` and `receive` leave the bytes to the kernel where they come from a file or go from one peer to another; otherwise
`p2pannex.transports.pump` moves them.
"""

from __future__ import annotations

from p2pannex.p2p.peer import Peer
from p2pannex.service import DirectBody, Download, Upload
from p2pannex.transports.pump import FILE_RANGE, SMALL_BODY, Progress, move


async def send(download: Download, peer: Peer, progress: Progress | None = None) -> None:
    """Move a download's bytes into the body that the peer has announced for them."""
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
            # This peer does not send files, or the file cannot be read, or it has ended early. The download knows what
            # there is to say of that, or where else to go on.
            await move(length, download.readinto, peer.write_body, progress)
            return
        file_range.advance(sent)
        length -= sent
        if progress is not None:
            progress(sent)


async def receive(length: int, peer: Peer, upload: Upload, progress: Progress | None = None) -> None:
    """Move the body that the peer's far side has announced into an upload."""
    length -= await _pass(length, peer, upload.direct, progress)
    await move(length, peer.read_body, upload.send_all, progress)


async def _pass(length: int, source: DirectBody | None, target: DirectBody | None, progress: Progress | None) -> int:
    """Move bytes from one body to another, as far as that goes without reading them; how many were."""
    passed = 0
    if source is not None and target is not None and length > SMALL_BODY:
        while passed < length and (count := await source.pass_body(target, min(length - passed, FILE_RANGE))):
            passed += count
            if progress is not None:
                progress(count)
    return passed
