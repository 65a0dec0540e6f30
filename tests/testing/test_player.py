"""Transcripts that are played with a server: what it leaves behind, and what it tells apart."""

from __future__ import annotations

import pytest

from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.transcripts import (
    Mismatch,
)
from tests.testing.transcripts import TRANSCRIPTS, made, playing_with


async def test_what_was_put_is_removed_again() -> None:
    store = MemoryStore()
    async with playing_with(store) as player:
        for transcript in TRANSCRIPTS:
            if transcript.name in ("checkpresent", "put", "put-resume", "put-odd-names"):
                await player.play(transcript, 4)
    assert not store.contents


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (["C: CHECKPRESENT {key:hello}", "S: SUCCESS"], "- S: SUCCESS\n+ FAILURE"),
        (["C: CHECKPRESENT {key:hello}", "S: FAILURE", "S: FAILURE"], "nothing came"),
        (["C: BYPASS", "server closes"], "nothing came"),
        (["C: ERROR no", "S: FAILURE"], "+ (the server closed)"),
        (["C: CHECKPRESENT {key:hello}", "C: FOO", "S: FAILURE"], "got the reply ERROR unknown command"),
        (["C: ERROR no", "C: FOO"], "got the reply (the server closed)"),
        (["C: GETTIMESTAMP", "S: TIMESTAMP x{number}"], "- S: TIMESTAMP x{number}"),
        (["client closes", "S: FAILURE"], "+ (the server closed)"),
    ],
)
async def test_a_server_that_does_something_else_is_told_apart(steps: list[str], problem: str) -> None:
    async with playing_with(MemoryStore()) as player:
        player.timeout = 0.2
        with pytest.raises(Mismatch) as caught:
            await player.play(made(*steps), 4)
    assert problem in str(caught.value)
