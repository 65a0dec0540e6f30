"""The files in which the failures of nodes are remembered: what is in them, and which of them are ignored."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, given, settings

from p2pannex.cluster.health import LONGEST_BACK_OFF, Health
from p2pannex.cluster.node import Node
from p2pannex.gateways.health_files import REMEMBERED, HealthFiles
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.simulator import simulate
from tests.support.clocks import ManualClock

Table = dict[str, Any]


def files_in(path: Path, clock: ManualClock) -> HealthFiles:
    return HealthFiles(str(path / "health"), lambda path: os.makedirs(path, exist_ok=True), clock)


def health_of(files: HealthFiles, uuid: str = "uuid", opened_with: object = "url") -> Health:
    """The health of a node as a new process finds it."""
    health = Health()
    health.memory = files.of(uuid, opened_with=opened_with)
    health.refresh()
    return health


def failed_in(path: Path, clock: ManualClock, times: int = 1) -> Path:
    """Let the node fail. Returns the file that remembers it."""
    health = health_of(files_in(path, clock))
    for _ in range(times):
        health.failed("it hung", costly=True)
    return path / "health" / "uuid.json"


async def test_a_new_process_knows_what_another_one_found(tmp_path: Path) -> None:
    clock = ManualClock(never_read="wall")
    failed_in(tmp_path, clock)
    health = health_of(files_in(tmp_path, clock))
    assert health.suspended
    assert health.summary == "no request was sent, because it failed 0 s ago (it hung)"
    clock.advance(2)
    later = health_of(files_in(tmp_path, clock))
    assert later.summary == "no request was sent, because it failed 2 s ago (it hung)"
    assert later.back_at <= trio.current_time(), "a probe is due"
    health.recovered()
    assert health_of(files_in(tmp_path, clock)).healthy


@pytest.mark.parametrize(
    ("uuid", "opened_with"), [("other", "url"), ("uuid", "another url")], ids=["another node", "opened in another way"]
)
async def test_failures_are_those_of_one_node(tmp_path: Path, uuid: str, opened_with: str) -> None:
    clock = ManualClock()
    failed_in(tmp_path, clock)
    assert health_of(files_in(tmp_path, clock), uuid, opened_with).healthy


@pytest.mark.parametrize("uuid", ["../up", "a/b", ".", "..", "", "x" * 300, "new\nline", "nul\0"])
async def test_a_uuid_of_any_characters_is_a_name_in_the_directory(tmp_path: Path, uuid: str) -> None:
    files = files_in(tmp_path, ManualClock())
    health_of(files, uuid).failed("it hung", costly=True)
    assert {path.name for path in tmp_path.iterdir()} == {"health"}
    assert health_of(files, uuid).suspended is (len(uuid) < 200)


async def test_settings_are_not_readable_in_the_file(tmp_path: Path) -> None:
    health_of(files_in(tmp_path, ManualClock()), opened_with=("url", "secret")).failed("it hung", costly=True)
    path = tmp_path / "health" / "uuid.json"
    assert "secret" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def written(text: bytes) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_bytes(text)

    return edit


def without(name: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        table = json.loads(path.read_text())
        del table[name]
        path.write_text(json.dumps(table))

    return edit


def in_place_of_it(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.rename(path.with_suffix(".moved"))
        make(path)

    return edit


SPOILT: dict[str, Callable[[Path], None]] = {
    "empty": written(b""),
    "no JSON": written(b"\xff\0{"),
    "a list": written(b"[1]"),
    "a number": written(b"7"),
    "deep": written(b"[" * 60000),
    "another boot": edited(boot="another"),
    "in the future": edited(at=2000.0),
    "failed in the future": edited(failed_at=2000.0),
    "before the boot": edited(failed_at=-math.inf),
    "no number": edited(failed_at="today"),
    "nan": edited(back_at=math.nan),
    "failed at nan": edited(failed_at=math.nan),
    "for ever": edited(back_at=math.inf),
    "too long": edited(back_at=1000 + LONGEST_BACK_OFF + 1),
    "infinite failures": edited(failures=math.inf),
    "healthy in the future": edited(healthy_since=5000.0),
    **{f"without {name}": without(name) for name in ("boot", "opened_with", "at", "failures", "back_at", "reason")},
    "a directory": in_place_of_it(Path.mkdir),
    "a FIFO": in_place_of_it(os.mkfifo),
    "a symbolic link": in_place_of_it(lambda path: path.symlink_to(path.with_suffix(".moved"))),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_a_file_that_makes_no_sense_is_ignored(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    clock = ManualClock()
    path = failed_in(tmp_path, clock)
    assert health_of(files_in(tmp_path, clock)).suspended
    spoil(path)
    health = health_of(files_in(tmp_path, clock))
    assert health.healthy
    health.failed("it hung", costly=True)
    assert health.suspended
    health.recovered()


async def test_a_failure_is_forgotten_at_last(tmp_path: Path) -> None:
    clock = ManualClock()
    failed_in(tmp_path, clock)
    clock.advance(REMEMBERED - 1)
    assert health_of(files_in(tmp_path, clock)).failures
    clock.advance(2)
    assert not health_of(files_in(tmp_path, clock)).failures


@given(
    numbers=st.dictionaries(
        st.sampled_from(["at", "failures", "level", "failed_at", "back_at", "healthy_since"]),
        st.floats() | st.integers() | st.none() | st.floats(900, 1100),
    ),
    costly=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_suspends_a_node_for_longer_than_the_longest_back_off(
    tmp_path: Path, numbers: Table, costly: bool
) -> None:
    async def scenario(world: object) -> None:
        clock = ManualClock()
        edited(**numbers, costly=costly)(failed_in(tmp_path, clock))
        health = health_of(files_in(tmp_path, clock))
        assert health.back_at <= trio.current_time() + LONGEST_BACK_OFF + 0.1
        await trio.sleep(LONGEST_BACK_OFF + 0.1)
        assert health.healthy, "without a cluster that sends probes, the time alone decides"

    simulate(scenario)


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("in the way"), lambda path: path.symlink_to("nowhere")])
async def test_nothing_fails_because_nothing_can_be_written(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "health")
    files = files_in(tmp_path, ManualClock())
    health = health_of(files)
    health.failed("it hung", costly=True)
    assert health.suspended, "within the process"
    with health.claim() as claimed:
        assert claimed, "without a lock, each process probes"
    health.recovered()
    assert health.healthy
    assert not files.changed()


async def test_a_file_that_cannot_be_replaced_leaves_no_rest(tmp_path: Path) -> None:
    clock = ManualClock()
    path = failed_in(tmp_path, clock)
    health = health_of(files_in(tmp_path, clock))
    in_place_of_it(Path.mkdir)(path)
    health.failed("it hung", costly=True)
    assert sorted(each.name for each in path.parent.iterdir()) == ["uuid.json", "uuid.moved"]


async def test_one_process_at_a_time_has_the_claim(tmp_path: Path) -> None:
    clock = ManualClock()
    failed_in(tmp_path, clock)
    first, second = health_of(files_in(tmp_path, clock)), health_of(files_in(tmp_path, clock))
    with first.claim() as claimed:
        assert claimed
        with second.claim() as claimed_too:
            assert not claimed_too
    with second.claim() as claimed:
        assert claimed


async def test_failures_in_two_processes_add_up(tmp_path: Path) -> None:
    clock = ManualClock()
    files = files_in(tmp_path, clock)
    first, second = health_of(files), health_of(files)
    first.failed("it died", costly=False)
    assert first.healthy is first.suspended is False
    await trio.sleep(0.01)
    clock.advance(0.01)
    second.failed("it died", costly=False)
    assert second.suspended
    first.refresh()
    assert first.suspended


async def test_a_change_by_another_process_is_noticed(tmp_path: Path) -> None:
    clock = ManualClock()
    files = files_in(tmp_path, clock)
    assert not files.changed()
    failed_in(tmp_path, clock)
    assert files.changed()
    assert not files.changed()


async def test_what_is_left_out_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    failed_in(tmp_path, clock)
    node = Node("attic", MemoryStore("uuid"))
    node.health.memory = files_in(tmp_path, clock).of("uuid", opened_with="url")
    for _ in range(3):
        node.refresh()
    assert [record.message for record in caplog.records] == [
        "node attic is left out for now: no request was sent, because it failed 0 s ago (it hung)"
    ]


async def test_the_routes_to_a_node_fail_alone(tmp_path: Path) -> None:
    """Two nodes with one UUID, of which one is reached through a gateway."""
    files = files_in(tmp_path, ManualClock())
    health = Health()
    health.memory = files.of("uuid", via=["gateway"])
    health.failed("it hung", costly=True)
    assert files.of("uuid", via=["gateway"]).read() is not None
    assert files.of("uuid").read() is None
