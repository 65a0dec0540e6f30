"""What the logs of the branch say, from bytes alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.git_annex.logs.cluster_log import parse_cluster_log
from p2pannex.git_annex.logs.group_log import parse_group_log
from p2pannex.git_annex.logs.maxsize_log import parse_maxsize_log
from p2pannex.git_annex.logs.numcopies_log import parse_numcopies_log
from p2pannex.git_annex.logs.proxy_log import parse_proxy_log
from p2pannex.git_annex.logs.repository_log import parse_repository_log, parse_wanted_log
from p2pannex.git_annex.logs.timed_log import parse_group_wanted_log
from p2pannex.git_annex.logs.trust_log import TrustLevel, parse_trust_log

PARSERS = [
    parse_cluster_log,
    parse_group_log,
    parse_group_wanted_log,
    parse_maxsize_log,
    parse_numcopies_log,
    parse_proxy_log,
    parse_trust_log,
    parse_repository_log,
    parse_wanted_log,
]


def test_the_newest_line_counts() -> None:
    log = b"u1 old timestamp=1.5s\nu1 two  words =x timestamp=10s\nu1 older timestamp=9.99s\nu2 b timestamp=1s\n"
    assert parse_repository_log(log) == {"u1": "two  words =x", "u2": "b"}
    assert parse_group_wanted_log(b"10s g anything\n9s g nothing\n11s h \n") == {"g": "anything"}
    assert parse_numcopies_log(b"2s 3\n10s 1\nx 9\n11s many\n") == 1


def test_lines_without_a_time_are_the_oldest() -> None:
    assert parse_repository_log(b"u1 laptop\nu1 desk timestamp=0s\nu2 a b\n") == {"u1": "desk", "u2": "a b"}


def test_an_empty_value_ends_what_was_said_before() -> None:
    assert parse_group_log(b"u1 a b timestamp=1s\nu1  timestamp=2s\nu2 b c timestamp=1s\n") == {"u2": {"b", "c"}}
    assert parse_wanted_log(b"u1 standard timestamp=1s\nu1  timestamp=2s\n") == {}
    assert parse_maxsize_log(b"1s u1 5\n2s u1 0\n1s u2 7\n1s u3 x\n") == {"u2": 7}
    assert parse_cluster_log(b"1s c u1 u2\n2s c u2 u3\n1s d\n") == {"c": ("u2", "u3"), "d": ()}


def test_trust_and_proxies() -> None:
    log = b"a 1 timestamp=1s\nb 0 timestamp=1s\nc ? timestamp=1s\nd X timestamp=1s\ne Y timestamp=1s\n"
    assert parse_trust_log(log) == {
        "a": TrustLevel.TRUSTED,
        "b": TrustLevel.UNTRUSTED,
        "c": TrustLevel.SEMITRUSTED,
        "d": TrustLevel.DEAD,
    }
    assert parse_proxy_log(b"1s p u1:one u2:t:wo bad\n") == {"p": {"u1": "one", "u2": "t:wo"}}


@pytest.mark.parametrize("parse", PARSERS)
@given(
    text=st.lists(st.sampled_from([b" ", b"\n", b"1s", b"u1", b"timestamp=", b"\xff", b"\r", b"2s u1 9\n"])).map(
        b"".join
    )
    | st.binary()
)
def test_any_bytes_are_a_log_and_empty_lines_say_nothing(parse: Callable[[bytes], object], text: bytes) -> None:
    assert parse(text) == parse(b"\n" + text + b"\n\r\n")
