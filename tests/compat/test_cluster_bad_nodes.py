"""A cluster whose nodes are programs that hang, or announce wrong numbers, served by p2pannex-shell."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import attrs
import pytest
import trio

import tests.support.bad_node
from p2pannex.gateways.directory.config import NodeConfig, create
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.remote import Remote
from p2pannex.service import Stored
from p2pannex.testing.samples import fetch, key_of, offer, sample

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
    attrs.evolve(create(str(path), "family", uuid=CLUSTER), nodes=nodes).save(path)
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
