"""Transcripts, and servers to play them with."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2pannex.access import Mode
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import ConnectionLost, Side
from p2pannex.service import Service
from p2pannex.testing.player import Player
from p2pannex.testing.transcripts import (
    Transcript,
    load_transcripts,
    parse_transcript,
)
from p2pannex.transports.descriptor import DescriptorStream

ALL = frozenset(range(5))
TRANSCRIPTS = load_transcripts()


def named(case: object) -> str:
    return case.name if isinstance(case, Transcript) else f"{case}"


@asynccontextmanager
async def playing_with(store: Service) -> AsyncIterator[Player]:
    """A player whose servers are tasks here, one a connection, all over one store."""

    async def serve_one(end: socket.socket, mode: str) -> None:
        try:
            await serve(StreamPeer(DescriptorStream.over_socket(end), Side.SERVER, timeout=60), store, mode=Mode(mode))
        except ConnectionLost:
            pass  # a client left in the middle of something, which some transcripts are about

    async def open_stream(mode: str) -> DescriptorStream:
        ours, theirs = socket.socketpair()
        nursery.start_soon(serve_one, theirs, mode)
        return DescriptorStream.over_socket(ours)

    async with trio.open_nursery() as nursery:
        player = Player(open_stream, run="t", timeout=60)
        yield player
        await player.aclose()


def made(*steps: str, header: str = "section 1\nversions 0-4\n") -> Transcript:
    return parse_transcript("made", f"# Made.\n{header}" + "\n".join(steps))
