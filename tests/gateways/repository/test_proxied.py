"""One repository behind a gateway repository."""

from __future__ import annotations

import pytest

from p2pannex.errors import RemoteError
from p2pannex.gateways.repository.proxied import ProxiedRemote
from p2pannex.p2p.remote import Remote
from p2pannex.testing.samples import fetch, store
from tests.gateways.repository.gateway import FAM, KEY, OWN, Gateway


async def test_one_repository_through_the_gateway(gateway: Gateway) -> None:
    async with gateway.open(gateway.uuids["b"]) as service:
        assert service.uuid == gateway.uuids["b"]
        await store(service, b"content")
        assert [gateway.has(name) for name in "ab"] == [False, True]
        assert await service.check_present(KEY)
        assert await fetch(service, KEY) == b"content"
    assert gateway.locations(KEY) == {"b"}
    async with gateway.open(gateway.uuids["b"]) as service:
        assert (await service.remove(KEY, before=await service.timestamp() + 10)).ok
    assert gateway.locations(KEY) == set()


async def test_a_repository_that_was_asked_for_in_a_circle(gateway: Gateway) -> None:
    """Behind a gateway that the request came through already."""
    far, other = "f0f0f0f0-1111-4222-8333-444444444444", "0b0b0b0b-1111-4222-8333-444444444444"
    gateway.config("remote.B.url", "ssh://host.invalid/srv/annex")
    gateway.config("remote.B.annex-uuid", other)
    gateway.config("remote.B.annex-cluster-gateway", FAM)
    gateway.write("proxy.log", f"2s {OWN} {FAM}:fam {far}:B-far", f"2s {other} {FAM}:fam {far}:far")
    async with gateway.open(far) as service:
        view = service.bypassing(frozenset({other}))
        with pytest.raises(RemoteError, match="leads back"):
            await view.check_present(KEY)
        await view.aclose()
        assert isinstance(service, ProxiedRemote)
        assert isinstance(service._inner, Remote)
        assert service._inner._bypass == (OWN,), "the other gateway is told not to come back to us"


def test_what_is_not_served(gateway: Gateway) -> None:
    with pytest.raises(RemoteError, match="expected repository UUID unknown but found UUID"):
        gateway.open("unknown")
    gateway.config("annex.cluster.fam")
    with pytest.raises(RemoteError, match="not configured to be a gateway"):
        gateway.open()
