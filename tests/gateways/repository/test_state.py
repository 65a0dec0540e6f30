"""A gateway repository whose configuration changes while it is served."""

from __future__ import annotations

import pytest
import trio

from p2pannex.gateways.repository.cluster import NotAGatewayRepository
from p2pannex.testing.samples import store
from tests.gateways.repository.gateway import Gateway
from tests.support.waiting import until


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration is looked at all the time."""
    monkeypatch.setattr("p2pannex.gateways.repository.cluster.REPOSITORY_INTERVAL", 0.01)


@pytest.mark.usefixtures("often")
async def test_nodes_come_and_go_without_a_restart(gateway: Gateway) -> None:
    async with gateway.cluster() as cluster:

        def names() -> set[str]:
            return {node.name for node in cluster.nodes}

        assert names() == {"a", "b"}
        gateway.node("c")
        await until(lambda: names() == {"a", "b", "c"})
        gateway.config("remote.a.annex-cluster-node")
        await until(lambda: names() == {"b", "c"})
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "abc"] == [False, True, True]
        # What makes no sense at this moment changes nothing.
        gateway.config("annex.cluster.fam")
        with pytest.raises(NotAGatewayRepository):
            await cluster.reload()
        await trio.sleep(0.1)
        assert names() == {"b", "c"}


async def test_a_repository_that_is_no_gateway_any_more(gateway: Gateway) -> None:
    cluster = gateway.cluster()
    gateway.write("proxy.log", "2s unknown")
    with pytest.raises(NotAGatewayRepository):
        async with cluster:
            pass
