"""What a server logs of failed requests: enough to know why, and never so much that a client can fill the log."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from p2pannex.errors import RemoteError
from p2pannex.p2p.failure_log import HOUR, MOST_CLIENTS, MOST_LINES, MOST_REASONS, SAME_FAILURE, FailureLog
from tests.p2p.test_listen import Refusing, put, serving


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    return found


async def test_one_client_cannot_fill_the_log(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    for number in range(1000):
        failures.report("token a", f"connection {number}", f"no key {number}")
    logged = lines(caplog)
    assert len(logged) == MOST_LINES + 1
    assert "not logged" in logged[-1]
    await trio.sleep(HOUR + 1)
    failures.report("token a", "c", "no key x")
    assert lines(caplog) == ["c: a request failed: no key x"]


async def test_reasons_of_one_client_do_not_displace_those_of_others(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = FailureLog()
    failures.report("token a", "c", "the disk is full")
    for number in range(10 * MOST_REASONS):
        failures.report("token b", "c", f"no key {number}")
    lines(caplog)
    failures.report("token c", "c", "the disk is full")
    assert lines(caplog) == []
    failures.report("token c", "c", "the disk is broken")
    assert lines(caplog) == ["c: a request failed: the disk is broken"]


async def test_a_reason_is_logged_again_after_it_has_not_occurred_for_a_while(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = FailureLog()
    for wait, count in ((0, 1), (SAME_FAILURE - 1, 0), (SAME_FAILURE - 1, 0), (SAME_FAILURE + 1, 1)):
        await trio.sleep(wait)
        failures.report("address x", "c", "the disk is full")
        assert len(lines(caplog)) == count


async def test_little_is_remembered_of_many_clients(autojump_clock: MockClock) -> None:
    failures = FailureLog()
    for number in range(MOST_CLIENTS + 100):
        failures.report(f"address {number}", "c", f"no key {number}")
    assert len(failures._reasons) == MOST_REASONS
    assert len(failures._clients) == MOST_CLIENTS


async def test_of_a_server_all_connections_of_a_token_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Refusing()
    async with serving(tmp_path, store=store) as server:
        for number in range(MOST_LINES + 5):
            store.reason = f"no room for {number}\u2066\u115f\x1b[31m"
            async with server.remote() as remote:
                with pytest.raises(RemoteError, match="no room"):
                    await put(remote, b"x")
    logged = [line for line in lines(caplog) if "request" in line]
    assert len(logged) == MOST_LINES + 1
    assert logged[0].endswith("no room for 0\ufffd\ufffd\ufffd[31m")
