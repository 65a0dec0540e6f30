"""Checks of every `Service`: removals, locks, and the clock that deadlines refer to."""

from __future__ import annotations

from p2pannex.errors import Unsupported
from p2pannex.service import Lock, NotLocked, Service
from p2pannex.testing.samples import fetch, store


async def _locked(service: Service, key_content: bytes) -> Lock:
    key = await store(service, key_content)
    try:
        return await service.lock(key)
    except NotLocked as error:
        raise AssertionError("content that is present cannot be locked") from error


async def _refuses_to_remove(service: Service, content: bytes, why: str) -> None:
    key = await store(service, content)
    removal = await service.remove(key)
    assert not removal.ok, f"{why}, but its removal is reported as successful"
    assert await service.check_present(key), f"{why}, but it was removed"
    assert await fetch(service, key) == content


async def removes(service: Service) -> None:
    """Removed content is absent and can be stored again; other content stays."""
    one, other = await store(service, b"one"), await store(service, b"other")
    removal = await service.remove(one)
    assert removal.ok, "the content could not be removed"
    assert service.uuid not in removal.uuids, "the service names itself among the other repositories"
    assert await service.check_present(one) is False, "removed content is still present"
    assert await fetch(service, one) is None, "removed content is still sent"
    assert (await service.remove(one)).ok, "absent content does not count as removed"
    assert await fetch(service, other) == b"other"
    await store(service, b"one")
    assert await fetch(service, one) == b"one"


async def keeps_what_is_locked(service: Service) -> None:
    """Locked content is not removed until it is unlocked, and can be read meanwhile."""
    content = b"locked"
    async with await _locked(service, content):
        await _refuses_to_remove(service, content, "the content is locked")
    key = await store(service, content)
    assert (await service.remove(key)).ok, "the content was unlocked, but cannot be removed"
    assert await service.check_present(key) is False


async def keeps_what_is_locked_twice(service: Service) -> None:
    """Content with two locks is kept until both are released, in either order."""
    content = b"locked twice"
    for first, second in ((0, 1), (1, 0)):
        locks = [await _locked(service, content), await _locked(service, content)]
        async with locks[second]:
            async with locks[first]:
                pass
            await _refuses_to_remove(service, content, "one of the two locks is left")
        assert (await service.remove(await store(service, content))).ok, (
            "both locks were released, but the content cannot be removed"
        )


async def releases_once(service: Service) -> None:
    """A lock may be released before its block ends, and closed twice."""
    content = b"released early"
    async with await _locked(service, content) as lock:
        await lock.release()
        await lock.release()
    await lock.aclose()
    assert (await service.remove(await store(service, content))).ok, "the content was unlocked, but cannot be removed"


async def keeps_the_lock_of_a_lost_holder(service: Service) -> None:
    """A lock whose holder is lost stays: the holder may have removed its own copy already."""
    content = b"abandoned"
    try:
        async with await _locked(service, content):
            raise _Lost
    except _Lost:
        pass
    await _refuses_to_remove(service, content, "the content is locked by a holder that was lost a moment ago")
    async with await _locked(service, content):
        pass
    await _refuses_to_remove(service, content, "another lock was released, but the lost holder's lock is left")


class _Lost(Exception):
    pass


async def reports_the_time(service: Service) -> None:
    """`timestamp` is in whole seconds, and never goes back."""
    try:
        times = [await service.timestamp() for _ in range(5)]
    except Unsupported:
        return
    assert all(isinstance(time, int) for time in times), f"{times} are not whole seconds"
    assert times == sorted(times), f"the clock went back: {times}"


async def removes_before_a_deadline_only(service: Service) -> None:
    """Content is removed only while the service's clock is below the deadline."""
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
    """Locked content is not removed, even if the deadline has not passed."""
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
    keeps_the_lock_of_a_lost_holder,
    locks_are_stronger_than_deadlines,
)

KEEPING_CHECKS = (removes, reports_the_time, removes_before_a_deadline_only, *LOCK_CHECKS)
