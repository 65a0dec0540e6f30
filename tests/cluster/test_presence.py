"""CHECKPRESENT with a least number of copies is tested in test_copies_simulated.py; here, its error."""

from __future__ import annotations

import pytest

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.gateways.unavailable import Unavailable
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of


@pytest.mark.parametrize("answers", [True, False])
async def test_the_error_tells_which_nodes_did_not_reply(answers: bool) -> None:
    nodes = [Node("a", Unavailable("uuid-of-a", "it is gone"))]
    if answers:
        nodes.append(Node("b", MemoryStore("uuid-of-b")))
    async with Cluster("u", nodes) as cluster:
        with pytest.raises(NotAllAsked, match="not every node replied: a: it is gone") as caught:
            await cluster.check_present(key_of(b"absent"))
    assert caught.value.silent == {"uuid-of-a"}
    assert caught.value.some_answered is answers
