"""Every parser of a log accepts any bytes: all who may push to the branch write them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.git_annex.config import LOG_MAX
from p2pannex.git_annex.logs.cluster_log import parse_cluster_log
from p2pannex.git_annex.logs.group_log import parse_group_log
from p2pannex.git_annex.logs.location_log import LocationLog, merge_lines, merge_location_logs
from p2pannex.git_annex.logs.maxsize_log import parse_maxsize_log
from p2pannex.git_annex.logs.numcopies_log import parse_numcopies_log
from p2pannex.git_annex.logs.proxy_log import parse_proxy_log
from p2pannex.git_annex.logs.remote_log import parse_remote_log
from p2pannex.git_annex.logs.repository_log import parse_wanted_log
from p2pannex.git_annex.logs.timed_log import parse_group_wanted_log
from p2pannex.git_annex.logs.trust_log import parse_trust_log


def _location(text: bytes) -> object:
    log = LocationLog.parse(text)
    log.changed("u", present=True, now=time.time_ns())
    return merge_location_logs(log.compacted(), text), merge_lines(text, text[::-1])


PARSERS: list[Callable[[bytes], object]] = [
    _location,
    parse_cluster_log,
    parse_group_log,
    parse_group_wanted_log,
    parse_maxsize_log,
    parse_numcopies_log,
    parse_proxy_log,
    parse_remote_log,
    parse_trust_log,
    parse_wanted_log,
]

PIECES = [b"1s", b"2.5s", b"9" * 700, b"9" * 5000, b"\xc2\xb2", b" ", b"\n", b"\r", b"u", b"\xff", b"timestamp=1s"]
PIECES += [b"1", b"0", b"X", b"a=b", b"&10;", b"&55296;", b"\0", b"u:n", b"2", b".", b"-1"]
LINES = st.lists(st.sampled_from(PIECES)).map(b"".join)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.one_of(LINES, st.binary()))
def test_any_bytes_are_parsed(parse: Callable[[bytes], object], text: bytes) -> None:
    parse(text)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "line",
    [b"\n", b"a\n", b"1s u\n", b"1s 1 u\n", b"%d", b"9" * 640 + b"s 1 u\n", b"1.%ds 1 u%d\n", b"u %d timestamp=%ds\n"],
)
def test_the_time_is_short_for_the_largest_log(parse: Callable[[bytes], object], line: bytes) -> None:
    lines = b"".join(line.replace(b"%d", b"%d" % number) for number in range(LOG_MAX // len(line)))
    began = time.process_time()
    parse(lines[:LOG_MAX])
    assert time.process_time() - began < 10
