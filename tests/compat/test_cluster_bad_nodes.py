"""A cluster whose nodes are programs that hang, or announce wrong numbers, served by p2pannex-shell."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio

import tests.support.bad_node
from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, create
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.remote import Remote
from p2pannex.service import NotLocked, Stored
from p2pannex.testing.samples import fetch, key_of, offer, sample
from tests.support.special_remotes import PLAIN

pytestmark = pytest.mark.compat

CLUSTER = "ac7f3a10-1111-8222-8333-444444444444"
"""A UUID by which clients count the nodes, so that replies name them."""


def node(tmp_path: Path, name: str, fault: str, timeout: float, cost: float) -> NodeConfig:
    """A node whose program misbehaves."""
    directory = tmp_path / name
    directory.mkdir()
    own = str(uuid.uuid4())
    url = f"exec:{sys.executable} {tests.support.bad_node.__file__} {own} {fault} {directory}"
    return NodeConfig(own, url, timeout=timeout, cost=cost)


def client_of(tmp_path: Path, nodes: dict[str, NodeConfig]) -> Remote:
    path = tmp_path / "gateway"
    if not path.exists():
        create(str(path), "family", uuid=CLUSTER)
    attrs.evolve(GatewayConfig.load(path), nodes=nodes).save(path)
    argv = [Path(sys.executable).parent / "p2pannex-shell", "p2pstdio", path, str(uuid.uuid4())]
    return Remote(lambda: open_process_peer([str(word) for word in argv]), CLUSTER)


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("timeout", [2, 4])
async def test_a_node_that_hangs_at_put_takes_no_other_node_with_it(tmp_path: Path, timeout: int, size: int) -> None:
    faults = {"one": "none", "hangs": "hang-at-PUT", "other": "none"}
    nodes = {name: node(tmp_path, name, fault, timeout, cost) for cost, (name, fault) in enumerate(faults.items())}
    content = sample(size)
    async with client_of(tmp_path, nodes) as client:
        outcome = await offer(client, content, key_of(content))
    assert outcome == Stored(frozenset({nodes["one"].uuid, nodes["other"].uuid}))
    for name in ("one", "other"):
        assert [file.read_bytes() for file in (tmp_path / name).iterdir()] == [content]


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("fault", ["length+10", "length-10"])
async def test_a_node_that_announces_a_wrong_length_is_passed_over(tmp_path: Path, fault: str, size: int) -> None:
    nodes = {"liar": node(tmp_path, "liar", fault, 10, 1), "good": node(tmp_path, "good", "none", 10, 2)}
    content = sample(size)
    key = key_of(content)
    async with client_of(tmp_path, nodes) as client:
        await offer(client, content, key)
        for start in (0, 7):
            assert await fetch(client, key, start) == content[start:]


async def test_a_node_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    """It is the first by cost, and alone could have the content: the other nodes reply that they lack it."""
    timeout = 3
    nodes = {
        "hangs": node(tmp_path, "hangs", "hang-at-CHECKPRESENT", timeout, 1),
        "good": node(tmp_path, "good", "none", timeout, 2),
    }
    async with client_of(tmp_path, nodes) as client:
        took = []
        for _ in range(8):
            started = trio.current_time()
            assert not await client.check_present(key_of(b"absent"))
            took.append(trio.current_time() - started)
    assert took[0] >= timeout
    assert sum(took[1:]) < timeout, "none of the others waited for it"


def hanging(tmp_path: Path, verb: str, timeout: float) -> dict[str, NodeConfig]:
    """A node that hangs at a message, and comes first by cost, and one that does not."""
    return {
        "hangs": node(tmp_path, "hangs", f"hang-at-{verb}", timeout, 1),
        "good": node(tmp_path, "good", "none", timeout, 2),
    }


async def timed(tmp_path: Path, nodes: dict[str, NodeConfig], request: Callable[[Remote], Awaitable[None]]) -> float:
    """Seconds that a request takes in a new process of the gateway, from the moment when that has started."""
    async with client_of(tmp_path, nodes) as client:
        await client.timestamp()
        started = trio.current_time()
        await request(client)
        return trio.current_time() - started


async def check_absent(client: Remote) -> None:
    assert not await client.check_present(key_of(b"absent"))


async def get_absent(client: Remote) -> None:
    with pytest.raises(RemoteError):
        await client.get(key_of(b"absent"))


async def lock_absent(client: Remote) -> None:
    with pytest.raises(NotLocked):
        await client.lock(key_of(b"absent"))


async def remove(client: Remote) -> None:
    assert not (await client.remove(key_of(b"absent"))).ok


def put(size: int) -> Callable[[Remote], Awaitable[None]]:
    async def put(client: Remote) -> None:
        content = os.urandom(size)
        assert isinstance(await offer(client, content, key_of(content)), Stored)

    return put


REQUESTS: dict[str, tuple[str, Callable[[Remote], Awaitable[None]]]] = {
    "check": ("CHECKPRESENT", check_absent),
    "connect": ("CONNECTION", check_absent),
    "version": ("VERSION", get_absent),
    "get": ("GET", get_absent),
    "lock": ("LOCKCONTENT", lock_absent),
    "remove": ("REMOVE", remove),
    "put": ("PUT", put(1000)),
    "data": ("DATA", put(1000)),
    "outcome": ("VALID", put(1000)),
    "large-put": ("PUT", put(3_000_000)),
    "large-data": ("DATA", put(3_000_000)),
    "large-outcome": ("VALID", put(3_000_000)),
}
"""The message at which a node hangs, and the request that meets it."""


@pytest.mark.parametrize(("verb", "request_"), REQUESTS.values(), ids=REQUESTS)
async def test_a_node_that_hangs_costs_a_request_one_timeout(
    tmp_path: Path, verb: str, request_: Callable[[Remote], Awaitable[None]]
) -> None:
    timeout = 3
    nodes = hanging(tmp_path, verb, timeout)
    took = await timed(tmp_path, nodes, request_)
    assert timeout / 3 <= took <= timeout + 3, "two seconds for its program to end, and some for ours"


@pytest.mark.parametrize("verb", ["CONNECTION", "VERSION", "CHECKPRESENT"])
async def test_a_hang_is_remembered_by_later_processes(tmp_path: Path, verb: str) -> None:
    """Each connection of a client has a process of its own at the gateway. Probes hang like the first request."""
    timeout = 5
    nodes = hanging(tmp_path, verb, timeout)
    took = [await timed(tmp_path, nodes, check_absent) for _ in range(4)]
    assert took[0] >= timeout
    known = [path.read_text() for path in (tmp_path / "gateway" / "health").glob("*.json")]
    assert max(took[1:]) < timeout - 1, f"a second for a probe, and some for our processes: {took}, {known}"


async def test_special_remotes_that_hang_are_remembered_by_later_processes(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.mkdir()
    (trouble / "PREPARE").write_text("hang always")
    program = ("/usr/bin/env", f"TROUBLE={trouble}", sys.executable, "-I", "-S", str(PLAIN), "2")
    settings = {"directory": str(tmp_path / "cloud")}
    nodes = {
        "cloud": NodeConfig(str(uuid.uuid4()), external=program, settings=settings, timeout=4, cost=1),
        "good": node(tmp_path, "good", "none", 4, 2),
    }
    took = [await timed(tmp_path, nodes, check_absent) for _ in range(3)]
    assert took[0] >= 4
    assert max(took[1:]) < 3, "a second for a probe, and some for our processes"
