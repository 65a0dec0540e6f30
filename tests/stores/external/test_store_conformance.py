"""Special remotes, held to the contract of every Service and to the transcripts: by themselves, and served."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2pannex.access import Mode
from p2pannex.p2p.server import serve
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import ConnectionLost, Side
from p2pannex.service import Service
from p2pannex.stores.external.store import ExternalStore
from p2pannex.testing.checks_of_content import gives_from_an_offset, serves_several_at_once, takes_every_key
from p2pannex.testing.checks_of_uploads import takes_one_content_twice_at_once
from p2pannex.testing.player import Player, cases
from p2pannex.testing.services import LOCK_CHECKS, SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served
from p2pannex.testing.transcripts import Transcript, load_transcripts
from p2pannex.transports.descriptor import DescriptorStream
from tests.support.special_remotes import PLAIN

CHECKS = [check for check in SERVICE_CHECKS if check not in LOCK_CHECKS]
UUID = "0c0c0c0c-1111-2222-3333-444444444444"


def store(tmp_path: Path, *words: str) -> ExternalStore:
    argv = [sys.executable, "-I", "-S", str(PLAIN), *words]
    return ExternalStore(UUID, argv, {"directory": str(tmp_path / "cloud")}, tmp_path / "spool", tmp_path / "state")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_external_store(check: Check, tmp_path: Path) -> None:
    await check_service(lambda: store(tmp_path), checks=[check])


@pytest.mark.parametrize("check", [gives_from_an_offset, serves_several_at_once, takes_one_content_twice_at_once])
async def test_external_store_that_does_several_things_at_once(check: Check, tmp_path: Path) -> None:
    await check_service(lambda: store(tmp_path, "2", "async"), checks=[check])


@pytest.mark.parametrize("version", [0, 4])
async def test_served_external_store(version: int, tmp_path: Path) -> None:
    """All checks at one version, but the one with keys that no special remote takes: over the wire that is an error."""

    stores = itertools.count()

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Service]:
        async with (
            store(tmp_path / str(next(stores)), "1") as external,
            served(external, transport="pipe", version=version) as remote,
        ):
            yield remote

    await check_service(make, checks=[check for check in CHECKS if check is not takes_every_key])


@contextlib.asynccontextmanager
async def playing_with(service: Service, run: str) -> AsyncIterator[Player]:
    """A player whose servers are tasks here, one a connection, all over one service."""

    async def serve_one(end: socket.socket, mode: str) -> None:
        with contextlib.suppress(ConnectionLost):
            peer = StreamPeer(DescriptorStream.over_socket(end), Side.SERVER, timeout=60)
            await serve(peer, service, mode=Mode(mode))

    async def open_stream(mode: str) -> DescriptorStream:
        ours, theirs = socket.socketpair()
        nursery.start_soon(serve_one, theirs, mode)
        return DescriptorStream.over_socket(ours)

    async with trio.open_nursery() as nursery:
        player = Player(open_stream, run=run, timeout=60)
        yield player
        await player.aclose()


@pytest.mark.parametrize("version", range(5))
async def test_transcripts(version: int, tmp_path: Path) -> None:
    """What the specification's conversations show holds for special remotes too, unless something is locked in them."""
    chosen = [t for t in load_transcripts() if t.needs <= {"files", "waiting"} and not locks(t) and t.name not in ODD]
    assert len(chosen) > 50
    async with store(tmp_path, "1", "async") as external:
        for transcript, at in cases(chosen, frozenset([version])):
            async with playing_with(external, transcript.name.replace("-", "")) as player:
                await player.play(transcript, at)


ODD = {"put-odd-names"}
"""Transcripts with keys that have a space."""


def locks(transcript: Transcript) -> bool:
    return bool(transcript.present) and any("LOCKCONTENT {key:" in step.text for step in transcript.steps)
