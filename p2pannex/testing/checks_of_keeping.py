"""What every `Service` promises about keeping: locks, removals, and the clock that deadlines are told by."""

from __future__ import annotations

from p2pannex.errors import Unsupported
from p2pannex.service import Lock, Service
from p2pannex.testing.samples import fetch, store


async def _locked(service: Service, key_content: bytes) -> Lock:
    lock = await service.lock(await store(service, key_content))
    assert lock is not None, "content that is there cannot be locked"
    return lock


async def _refuses_to_remove(service: Service, content: bytes, why: str) -> None:
    key = await store(service, content)
    removal = await service.remove(key)
    assert not removal.ok, f"{why}, and it is said to be removed"
    assert await service.check_present(key), f"{why}, and it was removed"
    assert await fetch(service, key) == content


async def removes(service: Service) -> None:
    """Removed content is gone, other content is not, and it can be stored again."""
    one, other = await store(service, b"one"), await store(service, b"other")
    removal = await service.remove(one)
    assert removal.ok, "it could not be removed"
    assert service.uuid not in removal.uuids, "the service names itself among others"
    assert await service.check_present(one) is False, "it is still present"
    assert await fetch(service, one) is None, "it is still given"
    assert (await service.remove(one)).ok, "absent content does not count as removed"
    assert await fetch(service, other) == b"other"
    await store(service, b"one")
    assert await fetch(service, one) == b"one"


async def keeps_what_is_locked(service: Service) -> None:
    """Locked content is not removed until it is unlocked, and can be read all the while."""
    content = b"locked"
    async with await _locked(service, content):
        await _refuses_to_remove(service, content, "it is locked")
    key = await store(service, content)
    assert (await service.remove(key)).ok, "it was unlocked, and cannot be removed"
    assert await service.check_present(key) is False


async def keeps_what_is_locked_twice(service: Service) -> None:
    """Content with two locks is kept until both are released, whichever comes first."""
    content = b"locked twice"
    for first, second in ((0, 1), (1, 0)):
        locks = [await _locked(service, content), await _locked(service, content)]
        async with locks[second]:
            async with locks[first]:
                pass
            await _refuses_to_remove(service, content, "one of two locks is left")
        assert (await service.remove(await store(service, content))).ok, "both locks were released"


async def releases_once(service: Service) -> None:
    """A lock may be released before its block ends, and closed twice."""
    content = b"released early"
    async with await _locked(service, content) as lock:
        await lock.release()
        await lock.release()
    await lock.aclose()
    assert (await service.remove(await store(service, content))).ok, "it was unlocked"


async def keeps_the_promise_to_the_lost(service: Service) -> None:
    """A lock whose holder is lost goes on: it may have removed its own copy already."""
    content = b"abandoned"
    try:
        async with await _locked(service, content):
            raise _Lost
    except _Lost:
        pass
    await _refuses_to_remove(service, content, "the one who locked it was lost a moment ago")
    async with await _locked(service, content):
        pass
    await _refuses_to_remove(service, content, "another's lock was released, the lost one's was not")


class _Lost(Exception):
    pass


async def tells_the_time(service: Service) -> None:
    """`timestamp` is in whole seconds, and never goes back."""
    try:
        times = [await service.timestamp() for _ in range(5)]
    except Unsupported:
        return
    assert all(isinstance(time, int) for time in times), f"{times} are not whole seconds"
    assert times == sorted(times), f"the clock went back: {times}"


async def removes_before_a_deadline_only(service: Service) -> None:
    """Content is removed while the service's clock is below the deadline, and not from then on."""
    key = await store(service, b"in time")
    try:
        now = await service.timestamp()
    except Unsupported:
        return
    for deadline in (0, now - 1, now):
        if deadline >= 0:
            assert not (await service.remove(key, before=deadline)).ok, f"removed before {deadline} at {now}"
            assert await service.check_present(key) is True
    assert (await service.remove(key, before=now + 1000)).ok
    assert await service.check_present(key) is False
    assert (await service.remove(key, before=0)).ok, "absent content does not count as removed"


async def locks_are_stronger_than_deadlines(service: Service) -> None:
    """Locked content is not removed before a deadline either."""
    content = b"locked in time"
    async with await _locked(service, content):
        key = await store(service, content)
        try:
            now = await service.timestamp()
        except Unsupported:
            return
        assert not (await service.remove(key, before=now + 1000)).ok
        assert await service.check_present(key) is True


LOCK_CHECKS = (
    keeps_what_is_locked,
    keeps_what_is_locked_twice,
    releases_once,
    keeps_the_promise_to_the_lost,
    locks_are_stronger_than_deadlines,
)

KEEPING_CHECKS = (removes, tells_the_time, removes_before_a_deadline_only, *LOCK_CHECKS)
