"""Transcripts are checked against the protocol rules: which problems are found."""

from __future__ import annotations

import pytest

from p2pannex.testing.replay import replay
from p2pannex.testing.transcripts import (
    Mismatch,
)
from tests.testing.transcripts import made


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (["C: FOO"], "the protocol rules require a reply: S: ERROR unknown command"),
        (["C: FOO", "S: ERROR unexpected command"], "the protocol rules require: S: ERROR unknown command"),
        (["C: CHECKPRESENT {key:a}", "S: ERROR unknown command"], "the protocol rules allow the line before"),
        (["C: CHECKPRESENT {key:a}", "S: TIMESTAMP 5"], "may not send TIMESTAMP"),
        (["C: CHECKPRESENT {key:a}"], "is at ANSWER, not IDLE"),
        (["C: LOCKCONTENT {key:a}", "S: SUCCESS"], "is at LOCKED, not IDLE"),
        (["C: PUT  {key:a}", "S: PUT-FROM 0", "C: DATA 1", "C= ab", "C: VALID"], "not bytes of the body"),
        (["C: GET 0  {key:a}", "S: DATA 1", "S= ab"], "2 bytes sent, 1 were still to be sent"),
        (["server closes"], "nothing makes the server close"),
        (["C: CHECKPRESENT {key:a}", "S! FAILURE"], "the client accepted it"),
        (["C: FOO", "client closes"], "has not replied"),
    ],
)
def test_a_transcript_that_breaks_the_protocol_rules_is_rejected(steps: list[str], problem: str) -> None:
    with pytest.raises(Mismatch) as caught:
        replay(made(*steps), 4)
    assert problem in str(caught.value)
