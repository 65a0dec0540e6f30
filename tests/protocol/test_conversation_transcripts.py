"""The transcripts of protocol-spec, played against the state machine alone, without a server."""

from __future__ import annotations

import pytest

from p2pannex.testing.player import cases
from p2pannex.testing.replay import replay
from p2pannex.testing.transcripts import (
    Transcript,
)
from tests.testing.transcripts import ALL, TRANSCRIPTS, named


@pytest.mark.parametrize(("transcript", "version"), list(cases(TRANSCRIPTS, ALL)), ids=named)
def test_the_state_machine_allows_it(transcript: Transcript, version: int) -> None:
    replay(transcript, version)
