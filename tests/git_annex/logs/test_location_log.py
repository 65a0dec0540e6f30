"""Location logs: which line counts, compaction and merging."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pannex.git_annex.logs.location_log import LocationLog, merge_lines, merge_location_logs
from tests.git_annex.logs.examples import A, B, clocks

good_lines = st.builds(lambda c, s, u: f"{c} {s} {u}".encode(), clocks, st.sampled_from("10X"), st.sampled_from([A, B]))
lines = good_lines | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
logs = st.lists(lines, max_size=8).map(lambda found: b"".join([line + b"\n" for line in found]))


def test_the_newest_line_counts_and_of_equals_the_first() -> None:
    log = LocationLog.parse(b"2s 0 a\n10s 1 a\n9.99s 0 a\n5s 1 b\n5.0s 0 b\n7s 1 c\n8s X c\nrubbish\n1s 1 d")
    assert log.present() == {"a", "b", "d"}
    assert log.compacted() == b"10s 1 a\n5s 1 b\n8s X c\n1s 1 d\nrubbish\n"


@given(logs)
def test_compaction_loses_nothing_that_counts(text: bytes) -> None:
    log = LocationLog.parse(text)
    again = LocationLog.parse(log.compacted())
    assert again == log
    assert {line for line in text.split(b"\n") if line} >= set(log.compacted().split(b"\n")) - {b""}


@given(logs, logs)
def test_merging_keeps_the_lines_of_both(ours: bytes, theirs: bytes) -> None:
    merged = merge_lines(ours, theirs)
    assert merged.startswith(ours)
    assert set(merged.split(b"\n")) == set(ours.split(b"\n")) | set(theirs.split(b"\n")) | {b""}
    assert merge_lines(merged, theirs) == merged
    assert merge_lines(merged, ours) == merged


@given(logs, logs)
def test_merging_location_logs_keeps_what_counts(ours: bytes, theirs: bytes) -> None:
    merged = LocationLog.parse(merge_location_logs(ours, theirs))
    for text in (ours, theirs):
        log = LocationLog.parse(text)
        assert set(log.unknown) <= set(merged.unknown)
        for uuid, line in log.newest.items():
            assert merged.newest[uuid].time >= line.time
    text = merged.compacted()
    assert merge_location_logs(text, theirs) == text
    assert merge_location_logs(text, ours) == text


@given(logs, st.sampled_from([A, B, "new"]), st.booleans(), st.integers(0, 2**62))
def test_a_change_is_later_than_all_that_was_logged(text: bytes, uuid: str, present: bool, now: int) -> None:
    before = LocationLog.parse(text)
    changed = before.changed(uuid, present=present, now=now)
    if changed is None:
        assert before.newest[uuid].status == (b"1" if present else b"0")
        return
    after = LocationLog.parse(changed)
    assert (uuid in after.present()) == present
    latest = before.latest()
    assert latest is None or after.newest[uuid].time > latest
    assert after.unknown == before.unknown
    assert {u: line for u, line in after.newest.items() if u != uuid} == {
        u: line for u, line in before.newest.items() if u != uuid
    }
    assert LocationLog.parse(merge_location_logs(changed, text)) == after


@given(logs, st.sampled_from([A, B, "new"]), st.booleans(), st.integers(0, 2**62))
def test_a_line_at_the_end_says_what_the_log_with_it_says(text: bytes, uuid: str, present: bool, now: int) -> None:
    text = text + b"\n" if text and not text.endswith(b"\n") else text
    log = LocationLog.parse(text)
    line = log.news(uuid, present=present, now=now)
    if line is not None:
        assert LocationLog.parse(text + line.line + b"\n") == log.with_line(line)
