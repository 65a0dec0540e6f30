"""Serving one client on standard input and output, for a program that the client starts (protocol-spec section 12)."""

from __future__ import annotations

from collections.abc import Callable

from p2pannex.access import Mode
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.conversation import Side
from p2pannex.service import Service
from p2pannex.system.stdio import claim_output
from p2pannex.transports.descriptor import DescriptorStream


async def serve_stdio(
    service: Service,
    *,
    mode: Mode = Mode.READ_WRITE,
    limited: bool = False,
    report: Callable[[str], object] | None = None,
) -> None:
    """Serve the client on standard input and output until it disconnects. The caller opens and closes `service`.

    From this call until the process ends, whatever else the process writes to standard output goes to standard error,
    so that a stray print cannot corrupt content. The client sends no token: every user who can start the program can
    use the repository. ConnectionLost if the client disconnects in the middle of a request. `mode`,
    `limited` and `report` are those of `serve`.
    """
    peer = StreamPeer(DescriptorStream(0, claim_output(), keep_open=True), Side.SERVER)
    await serve(peer, service, mode=mode, limited=limited, report=report)


__all__ = ["serve_stdio"]
