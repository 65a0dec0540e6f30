"""The transcripts of protocol-spec, played against `serve` with a memory store and a directory store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.player import cases
from p2pannex.testing.transcripts import (
    Transcript,
)
from tests.testing.transcripts import ALL, TRANSCRIPTS, named, playing_with

PLAYED = list(cases([transcript for transcript in TRANSCRIPTS if not transcript.needs], ALL))


@pytest.fixture(params=["memory", "directory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Service]:
    if request.param == "memory":
        return MemoryStore
    return lambda: DirectoryStore.create(tmp_path / "store")


@pytest.mark.parametrize(("transcript", "version"), PLAYED, ids=named)
async def test_serve_says_so(transcript: Transcript, version: int, make_store: Callable[[], Service]) -> None:
    async with make_store() as store, playing_with(store) as player:
        await player.play(transcript, version)


@pytest.mark.parametrize(
    ("transcript", "version"),
    [case for case in cases(TRANSCRIPTS, ALL) if case[0].needs and case[0].needs <= {"files", "waiting"}],
    ids=named,
)
async def test_a_store_of_files_says_so(transcript: Transcript, version: int, tmp_path: Path) -> None:
    async with DirectoryStore.create(tmp_path / "store") as store, playing_with(store) as player:
        await player.play(transcript, version)
