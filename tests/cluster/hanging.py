"""A node that hangs at chosen requests, and every kind of request that it could delay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.service import Removal, Service
from p2pannex.testing.samples import fetch, key_of, sample, store
from p2pannex.testing.simulator import SimulatedNode

TIMEOUT = 4.0


class HangsAt(SimulatedNode):
    """Hangs at the requests in `hangs`, and at no other."""

    hangs: frozenset[str] = frozenset()

    async def call(self, what, request, *args, **named):  # type: ignore[no-untyped-def]
        if what in self.hangs:
            self.asked[what] = self.asked.get(what, 0) + 1
            await trio.sleep_forever()
        return await super().call(what, request, *args, **named)


EVERYTHING = frozenset(
    "check_present lock remove timestamp put get finish valid".split()  # noqa: SIM905 - reads better
)

HELD, ABSENT = sample(1000, 1), key_of(b"absent")


async def check_absent(service: Service, number: int) -> None:
    with pytest.raises(RemoteError, match="a: "):
        await service.check_present(ABSENT)


async def get_absent(service: Service, number: int) -> None:
    with pytest.raises(RemoteError, match="a: "):
        await service.get(ABSENT)


async def lock_absent(service: Service, number: int) -> None:
    with pytest.raises(RemoteError, match="a: "):
        await service.lock(ABSENT)


async def check_held(service: Service, number: int) -> None:
    assert await service.check_present(key_of(HELD))


async def get_held(service: Service, number: int) -> None:
    assert await fetch(service, key_of(HELD)) == HELD


async def lock_held(service: Service, number: int) -> None:
    lock = await service.lock(key_of(HELD))
    await lock.release()
    await lock.aclose()


async def put(service: Service, number: int) -> None:
    await store(service, sample(1000, 100 + number))


async def remove(service: Service, number: int) -> None:
    assert await service.remove(ABSENT) == Removal(False, frozenset({"uuid-of-b", "uuid-of-c"}))


async def remove_before(service: Service, number: int) -> None:
    before = await service.timestamp() + 100
    assert await service.remove(ABSENT, before=before) == Removal(False, frozenset({"uuid-of-b", "uuid-of-c"}))


REQUESTS: list[Callable[[Service, int], Awaitable[None]]] = [
    check_absent,
    get_absent,
    lock_absent,
    check_held,
    get_held,
    lock_held,
    put,
    remove,
    remove_before,
]
