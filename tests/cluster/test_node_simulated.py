"""A node's requests count for its health; `ranked` and `to_ask` follow from health, slots and cost."""

from __future__ import annotations

import pytest
import trio

from p2pannex.cluster import Cluster
from p2pannex.cluster.node import SLOW_REFUSAL, Node, ranked, to_ask
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported, WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotLocked, NotStored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of, offer
from p2pannex.testing.simulator import Failing, Simulation, simulate

TIMEOUT = 20.0


def node(name: str, **settings: float) -> Node:
    return Node(name, MemoryStore(name), timeout=TIMEOUT, **settings)  # type: ignore[arg-type]


SOON, LATE = 1.0, SLOW_REFUSAL + 1


@pytest.mark.parametrize(
    ("after", "outcome", "state"),
    [
        (LATE, None, "healthy"),
        (SOON, RemoteError, "healthy"),
        (LATE, RemoteError, "suspended"),
        (LATE, NotLocked, "healthy"),
        (LATE, Unsupported, "healthy"),
        (LATE, WrongContent, "healthy"),
        (SOON, ConnectionLost, "unhealthy"),
        (LATE, ConnectionLost, "suspended"),
        (TIMEOUT + 1, None, "suspended"),
    ],
)
def test_what_counts_as_a_failure(after: float, outcome: type[Exception] | None, state: str) -> None:
    async def request() -> str:
        await trio.sleep(after)
        if outcome is not None:
            raise outcome("no")
        return "reply"

    async def scenario(world: Simulation) -> None:
        it = node("a")
        if outcome is None and after < TIMEOUT:
            assert await it.ask(request) == "reply"
        else:
            with pytest.raises(outcome or ConnectionLost):
                await it.ask(request)
        assert (it.healthy, it.suspended) == (state == "healthy", state == "suspended")

    simulate(scenario)


def test_a_cancelled_request_is_no_failure() -> None:
    async def scenario(world: Simulation) -> None:
        it = node("a")
        with trio.move_on_after(TIMEOUT / 2):
            await it.ask(trio.sleep_forever)
        assert it.healthy

    simulate(scenario)


def test_ranked_by_health_then_slots_then_cost_then_transfers() -> None:
    async def scenario(world: Simulation) -> None:
        unhealthy, busy, dear = node("unhealthy", cost=1), node("busy", cost=2, limit=1), node("dear", cost=200)
        loaded, idle = node("loaded", cost=50), node("idle", cost=50)
        unhealthy.failed(costly=False)
        busy.transfers = loaded.transfers = 1
        nodes = [unhealthy, busy, dear, loaded, idle]
        for _ in range(20):
            world.random.shuffle(nodes)
            assert ranked(nodes) == [idle, loaded, dear, busy, unhealthy]

    simulate(scenario)


def test_suspended_nodes_get_a_request_only_if_all_are_suspended() -> None:
    async def scenario(world: Simulation) -> None:
        a, b, c = nodes = [node(name) for name in "abc"]
        assert to_ask([]) == ([], [])
        assert to_ask(nodes) == (nodes, [])
        a.failed(costly=False)
        assert to_ask(nodes) == (nodes, []), "unhealthy, but not suspended"
        c.failed()
        assert to_ask(nodes) == ([a, b], [c])
        a.failed()
        assert to_ask(nodes) == ([b], [a, c])
        b.failed()
        assert to_ask(nodes) == (nodes, [])

    simulate(scenario)


def test_a_failure_and_its_end_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: Simulation) -> None:
        a, _ = world.node("a"), world.node("b")
        async with world.cluster(timeout=TIMEOUT) as cluster:
            for failing, pause in ((Failing.HANG, 1000), (Failing.DIE, 0.1), (Failing.ERR, 100)):
                a.fail(failing)
                for _ in range(10):
                    with pytest.raises(RemoteError):
                        await cluster.check_present(key_of(b"absent"))
                    await trio.sleep(pause / 10)
                a.recover()
                await trio.sleep(200)

    simulate(scenario)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("p2pannex")] == [
        "node a failed: it did not reply within 20 s",
        "node a replies again",
        "node a failed: a died",
        "node a replies again",
        "node a reports an error: a refuses",
    ]


def test_a_logged_reason_is_one_line_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: Simulation) -> None:
        node("a").failed("bad\nline\x1b[2J")

    simulate(scenario)
    assert [record.getMessage() for record in caplog.records] == ["node a failed: bad line\ufffd[2J"]


def test_refusals_of_each_kind_are_logged_once_until_one_is_fulfilled(caplog: pytest.LogCaptureFixture) -> None:
    """A node that refuses uploads, and replies to all else, is not seen otherwise: the others store the content."""

    async def scenario(world: Simulation) -> None:
        a, _ = world.node("a"), world.node("b")
        async with world.cluster(timeout=TIMEOUT) as cluster:
            for turn in range(2):
                a.fail(Failing.ERR)
                for number in range(3):
                    outcome = await offer(cluster, b"%d%d" % (turn, number), key_of(b"%d%d" % (turn, number)))
                    assert dict(outcome.failures) == {"a": "a refuses"}
                a.recover()
                await offer(cluster, b"%d" % turn, key_of(b"%d" % turn))

    simulate(scenario)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["node a reports an error: a refuses"] * 2


def test_content_that_a_node_does_not_store_without_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: Simulation) -> None:
        async with Cluster("u", [Node("a", _Forgetful("uuid-of-a")), Node("b", MemoryStore("uuid-of-b"))]) as cluster:
            for content in (b"1", b"2"):
                outcome = await offer(cluster, content, key_of(content))
                assert dict(outcome.failures) == {"a": "it did not store the content, and gave no reason"}

    simulate(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "node a reports an error: it did not store the content, and gave no reason"
    ]


class _Forgetful(MemoryStore):
    """Replies FAILURE at the end of every upload."""

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        upload = await super().put(key, file)
        assert isinstance(upload, Upload)

        async def finish(valid: bool) -> NotStored:
            await trio.lowlevel.checkpoint()
            return NotStored()

        upload.finish = finish  # type: ignore[method-assign]
        return upload
