"""Every Service that is here, held to the one contract: the suite that is published in `p2pannex.testing.services`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from p2pannex.p2p.remote import Remote
from p2pannex.service import Service
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.pair import PEERS
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served

Make = Callable[[], AbstractAsyncContextManager[Service]]


def remote(transport: str, version: int) -> Make:
    @asynccontextmanager
    async def make() -> AsyncIterator[Remote]:
        async with served(MemoryStore(), transport=transport, version=version) as service:
            yield service

    return make


@asynccontextmanager
async def proxied() -> AsyncIterator[Remote]:
    """A remote served to another remote: what a proxy is."""
    async with served(MemoryStore(), transport="socket") as inner, served(inner) as outer:
        yield outer


SERVICES: dict[str, Make] = {
    "store": MemoryStore,
    **{f"remote over {transport}": remote(transport, 4) for transport in PEERS},
    **{f"remote at version {version}": remote("socket", version) for version in range(4)},
    "proxied": proxied,
}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_service(check: Check, name: str) -> None:
    await check_service(SERVICES[name], checks=[check])
