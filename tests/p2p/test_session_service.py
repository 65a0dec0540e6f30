"""A proxied repository restarts after its clock was read: nothing is removed by the clock that it had before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from p2pannex.errors import RemoteError
from p2pannex.p2p.remote import Remote
from p2pannex.p2p.session_service import SessionService
from p2pannex.service import Service
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.serving import served
from tests.support.restarting import RestartingRepository

CONTENT = sample(300)
KEY = key_of(CONTENT)
OTHER = key_of(b"other")


def repository_with(transport: str) -> RestartingRepository:
    repository = RestartingRepository(transport)
    repository.store.contents[KEY] = CONTENT
    return repository


async def _lock(service: Service) -> None:
    lock = await service.lock(KEY)
    assert lock is not None
    await lock.release()


BETWEEN: dict[str, Callable[[Service], Awaitable[object]]] = {
    "CHECKPRESENT": lambda service: service.check_present(KEY),
    "GET": lambda service: fetch(service, KEY),
    "LOCKCONTENT": _lock,
    "REMOVE": lambda service: service.remove(OTHER),
}


@asynccontextmanager
async def proxied(repository: RestartingRepository, *, connections: int, version: int = 4) -> AsyncIterator[Remote]:
    """The client's end of a connection through a proxy."""
    async with (
        served(repository.store, peers=repository.peers, connections=connections) as behind,
        served(behind, version=version, connections=1) as client,
    ):
        yield client


@pytest.mark.parametrize("between", [None, *BETWEEN])
@pytest.mark.parametrize("connections", [1, 10])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("transport", ["memory", "socket"])
async def test_nothing_is_removed_by_the_clock_before_the_restart(
    transport: str, version: int, connections: int, between: str | None
) -> None:
    repository = repository_with(transport)
    async with proxied(repository, connections=connections, version=version) as client:
        await client.check_present(KEY)
        await client.check_present(KEY)
        before = await client.timestamp() + 570
        await repository.restart()
        if between is not None:
            try:
                await BETWEEN[between](client)  # whatever connection it gets, the removal does not use that
            except RemoteError:
                assert between == "REMOVE", "other requests may be sent twice"
        for _ in range(2):
            with pytest.raises(RemoteError, match="lost"):
                await client.remove(KEY, before=before)
            assert repository.store.contents[KEY] == CONTENT
        assert (await client.remove(KEY, before=await client.timestamp() + 570)).ok
        assert KEY not in repository.store.contents


@pytest.mark.parametrize("connections", [1, 10])
async def test_several_removals_by_one_reading_of_the_clock(connections: int) -> None:
    """As without a proxy: a reading is good until the connection is lost."""
    repository = repository_with("socket")
    async with proxied(repository, connections=connections) as client:
        before = await client.timestamp() + 570
        for request in BETWEEN.values():
            await request(client)
            repository.store.contents[KEY] = CONTENT
            assert (await client.remove(KEY, before=before)).ok
            repository.store.contents[KEY] = CONTENT


async def test_the_connection_is_given_back_when_the_client_leaves() -> None:
    repository = repository_with("memory")
    async with served(repository.store, peers=repository.peers, connections=1) as behind:
        for _ in range(3):
            async with served(behind, connections=1) as client:
                await client.timestamp()
                assert await client.check_present(KEY)
        assert await behind.check_present(KEY)


async def test_a_removal_without_a_reading_needs_no_connection_of_its_own() -> None:
    """The client has read the clock over another connection to the proxy."""
    repository = repository_with("memory")
    async with proxied(repository, connections=1) as client:
        assert (await client.remove(KEY, before=5570)).ok


async def test_a_proxy_of_a_proxy() -> None:
    repository = repository_with("memory")
    async with proxied(repository, connections=2) as near, served(near) as client:
        before = await client.timestamp() + 570
        await repository.restart()
        assert await client.check_present(KEY)
        with pytest.raises(RemoteError):
            await client.remove(KEY, before=before)
        assert repository.store.contents[KEY] == CONTENT


async def test_bypass_after_the_clock_was_read() -> None:
    """What is asked from then on uses another connection, so the reading counts no more."""
    repository = repository_with("memory")
    async with served(repository.store, peers=repository.peers) as behind:
        session = SessionService(behind)
        before = await session.timestamp() + 570
        async with behind.bypassing(frozenset({"11111111-0000-0000-0000-000000000000"})) as other:
            await session.replace(other)
            with pytest.raises(RemoteError, match="lost"):
                await session.remove(KEY, before)
            assert (await session.remove(KEY, await session.timestamp() + 570)).ok
            await session.aclose()
