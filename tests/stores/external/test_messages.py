"""Lines of special remote programs."""

from __future__ import annotations

import pytest

from p2pannex.stores.external.messages import LINE_MAX, BadLine, Lines, check_present, split_job


def test_lines_are_bounded() -> None:
    lines = Lines()
    lines.feed(b"a\nb")
    assert lines.next() == b"a"
    assert lines.next() is None
    lines.feed(b"c\n\n")
    assert [lines.next(), lines.next(), lines.next()] == [b"bc", b"", None]
    lines.feed(b"x" * LINE_MAX + b"\n")
    assert lines.next() == b"x" * LINE_MAX
    with pytest.raises(BadLine):
        lines.feed(b"x" * (LINE_MAX + 1))


def test_replies_are_of_what_was_asked() -> None:
    request = check_present(b"A--x")
    assert request.reply(b"GETCONFIG a") is None
    reply = request.reply(b"CHECKPRESENT-UNKNOWN A--x no \x1b[31m way")
    assert reply is not None
    assert reply.reason == "no \ufffd[31m way"
    for line in (b"CHECKPRESENT-SUCCESS A--xy", b"CHECKPRESENT-SUCCESS", b"CHECKPRESENT-FAILURE A--y A--x"):
        with pytest.raises(BadLine):
            request.reply(line)
    assert split_job(b"J 12 VALUE a b") == (12, b"VALUE a b")
    for line in (b"J x VALUE", b"J  VALUE", b"J -1 VALUE"):
        with pytest.raises(BadLine):
            split_job(line)
