"""Content is never removed once the lock on its other copy may have expired, whatever the clocks and delays.

Time is simulated: `World.now` is the true time, every clock shows it from a start of its own, and the network and
sleeping machines let it pass at the worst moments.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.p2p.remote import Remote
from p2pannex.service import RETENTION, Lock, NotLocked, Removal
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.testing.serving import served
from p2pannex.transfer.drop import MARGIN, RemovalRefused, remove_while_locked
from tests.support.restarting import RestartingRepository

KEY = Key.parse(b"WORM-s1-m1--x")


class World:
    """True time, in seconds, and the delays that are still to come."""

    def __init__(self, delays: list[float] = []) -> None:  # noqa: B006 - copied
        self.now = 0.0
        self.delays = list(delays)
        self.log: list[str] = []

    def pass_time(self) -> None:
        if self.delays:
            self.now += self.delays.pop(0)


class SkewedClock:
    """Shows true time from `start` on, running `rate` times as fast. Reading it takes time as well."""

    def __init__(self, world: World, start: float, rate: float = 1.0, *, slow: bool = False) -> None:
        self.world = world
        self.start = start
        self.rate = rate
        self.slow = slow

    def monotonic(self) -> float:
        now = self.start + self.world.now * self.rate
        if self.slow:
            self.world.pass_time()  # the machine sleeps right after the reading
        return now

    def wall(self) -> float:
        raise AssertionError("wall clocks jump, nothing here may be decided by one")


class Distant(MemoryStore):
    """A store behind a network: time passes on the way there and on the way back."""

    def __init__(self, world: World, name: str, clock: SkewedClock) -> None:
        super().__init__(name, clock=clock)
        self.world = world
        self.contents[KEY] = b"x"
        self.removed_at: float | None = None

    async def lock(self, key: Key) -> Lock:
        self.world.pass_time()
        lock = await super().lock(key)
        self.world.log.append(f"lock {self.uuid}")
        self.world.pass_time()
        return lock

    async def timestamp(self) -> int:
        self.world.pass_time()
        now = await super().timestamp()
        self.world.pass_time()
        return now

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        self.world.pass_time()
        removal = await super().remove(key, before=before)
        self.world.log.append(f"remove {self.uuid}")
        if removal.ok:
            self.removed_at = self.world.now
        self.world.pass_time()
        return removal


class LosesItsHolder(Distant):
    """The connection that holds a lock breaks as soon as it is there: only the promise is left."""

    async def lock(self, key: Key) -> Lock:
        lock = await super().lock(key)
        await lock.aclose()
        self.expires = (lock._until - self.clock.start) / self.clock.rate  # type: ignore[attr-defined]
        self.releases = watch_releases(lock, self.world)
        return lock


def watch_releases(lock: Lock, world: World) -> list[str]:
    released: list[str] = []
    release: Callable[[], object] = lock.release

    async def watched() -> None:
        released.append("released")
        world.log.append("release")
        await release()  # type: ignore[misc]

    lock.release = watched  # type: ignore[method-assign]
    return released


delays = st.lists(st.floats(0, 700) | st.sampled_from([0.0, 0.5, 0.999, 569.0, 570.0, 599.9]), max_size=12)
starts = st.floats(0, 1e7)
rates = st.floats(0.975, 1.025)


@given(delays, starts, starts, starts, rates, rates, rates)
@example([], 0.999, 0.001, 0.5, 1.0, 1.0, 1.0)
@example([0, 0, 0, 0, 0, 0, 569.999], 0.0, 0.0, 0.999, 1.0, 1.0, 1.0)
@example([0, 0, 0, 500, 0, 0, 500], 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
@example([0, 0, 0, 0, 500, 0, 500], 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
@example([0, 0, 0, 0, 0, 0, 590], 0.0, 0.0, 0.0, 1.0, 0.975, 1.025)  # needs all of MARGIN, as does the next
@example([0, 0, 0, 0, 0, 0, 585.5], 0.0, 0.0, 0.0, 1.0, 0.975, 1.025)
async def test_nothing_is_removed_after_the_promise_has_ended(
    delays: list[float], ours: float, theirs: float, held: float, rate: float, target_rate: float, holder_rate: float
) -> None:
    world = World(delays)
    target = Distant(world, "target", SkewedClock(world, theirs, target_rate))
    holder = LosesItsHolder(world, "holder", SkewedClock(world, held, holder_rate))
    clock = SkewedClock(world, ours, rate, slow=True)
    try:
        removal = await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    except RemovalRefused:
        assert target.removed_at is None
        return
    assert removal.ok == (target.removed_at is not None)
    if target.removed_at is not None:
        assert target.removed_at < holder.expires
        assert KEY in holder.contents


async def test_the_margin_covers_clocks_that_run_unequally() -> None:
    """Without most of it, the slowest target removes after the lock of the fastest holder has expired."""
    for margin, in_time in [(0, False), (MARGIN - 1, False), (MARGIN, True)]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("p2pannex.transfer.drop.MARGIN", margin)
            world = World([0, 0, 0, 0, 0, 0, 585.5])
            target = Distant(world, "target", SkewedClock(world, 0.0, 0.975))
            holder = LosesItsHolder(world, "holder", SkewedClock(world, 0.0, 1.025))
            await remove_while_locked(KEY, target=target, holder=holder, clock=SkewedClock(world, 0.0, slow=True))
            assert (target.removed_at is None or target.removed_at < holder.expires) is in_time


fractions = st.floats(0, 0.9999)


@given(st.lists(fractions, max_size=6), st.floats(0, 1.5), fractions, fractions, fractions)
@example([0, 0, 0.5], 1.2, 0.0, 0.5, 0.0)
async def test_rounding_and_delays_only_shorten_the_time(
    delays: list[float], excess: float, ours: float, theirs: float, held: float
) -> None:
    """The margin is for clocks that run unequally. Where they do not, the deadline is right without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2pannex.transfer.drop.MARGIN", 0)
        world = World([*delays, *[0.0] * (6 - len(delays)), RETENTION - 1 - sum(delays) + excess])
        target = Distant(world, "target", SkewedClock(world, theirs))
        holder = LosesItsHolder(world, "holder", SkewedClock(world, held))
        await remove_while_locked(KEY, target=target, holder=holder, clock=SkewedClock(world, ours, slow=True))
        assert target.removed_at is None or target.removed_at < holder.expires


@given(st.lists(st.floats(0, 60), max_size=9), starts, starts, starts)
async def test_content_is_removed_while_there_is_time(
    delays: list[float], ours: float, theirs: float, held: float
) -> None:
    """All delays together are less than the promise, less the margin and a second of rounding."""
    world = World(delays)
    target = Distant(world, "target", SkewedClock(world, theirs))
    holder = LosesItsHolder(world, "holder", SkewedClock(world, held))
    removal = await remove_while_locked(KEY, target=target, holder=holder, clock=SkewedClock(world, ours, slow=True))
    assert removal == Removal(True)
    assert KEY not in target.contents
    assert holder.releases == ["released"]


class Old(Distant):
    """A repository that speaks no protocol version with deadlines."""

    async def timestamp(self) -> int:
        raise Unsupported("GETTIMESTAMP needs protocol version 3")

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        assert before is None
        return await super().remove(key)


@given(delays)
async def test_an_old_repository_is_asked_only_while_our_clock_shows_time_left(delays: list[float]) -> None:
    world = World(delays)
    clock = SkewedClock(world, 0.0)
    target, holder = Old(world, "target", clock), LosesItsHolder(world, "holder", clock)
    refused = False
    try:
        await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    except RemovalRefused:
        refused = True
    asked_after = sum(delays[:2])
    assert refused == (asked_after >= RETENTION - MARGIN)
    assert refused == (KEY in target.contents)


async def test_an_old_repository_can_be_refused() -> None:
    world = World()
    clock = SkewedClock(world, 0.0)
    target, holder = Old(world, "target", clock), LosesItsHolder(world, "holder", clock)
    with pytest.raises(RemovalRefused, match="too old"):
        await remove_while_locked(KEY, target=target, holder=holder, clock=clock, refuse_without_deadline=True)
    assert KEY in target.contents
    assert holder.releases == ["released"]  # nothing was asked of the target, so nothing need be held


async def test_the_lock_is_held_from_before_the_removal_until_after_it() -> None:
    world = World()
    clock = SkewedClock(world, 0.0)
    target, holder = Distant(world, "target", clock), LosesItsHolder(world, "holder", clock)
    await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    assert world.log == ["lock holder", "remove target", "release"]


@pytest.mark.parametrize("error", [ConnectionLost("gone"), RemoteError("cannot tell")])
async def test_a_removal_without_an_answer_does_not_unlock(error: Exception) -> None:
    class Failing(Distant):
        async def remove(self, key: Key, *, before: int | None = None) -> Removal:
            raise error

    world = World()
    clock = SkewedClock(world, 0.0)
    target, holder = Failing(world, "target", clock), LosesItsHolder(world, "holder", clock)
    with pytest.raises(type(error)):
        await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    assert holder.releases == []
    assert not (await holder.remove(KEY)).ok
    world.now = RETENTION
    assert (await holder.remove(KEY)).ok


async def test_a_repository_that_does_not_have_it_cannot_hold_it() -> None:
    world = World()
    clock = SkewedClock(world, 0.0)
    target, holder = Distant(world, "target", clock), Distant(world, "holder", clock)
    del holder.contents[KEY]
    with pytest.raises(RemovalRefused, match=r"holder cannot lock the content: .* is not present"):
        await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    assert KEY in target.contents


async def test_a_copy_that_is_there_and_cannot_be_locked_does_not_count() -> None:
    class Unlockable(Distant):
        async def lock(self, key: Key) -> Lock:
            raise NotLocked("it is on another machine")

    world = World()
    clock = SkewedClock(world, 0.0)
    target, holder = Distant(world, "target", clock), Unlockable(world, "holder", clock)
    assert await holder.check_present(KEY)
    with pytest.raises(RemovalRefused, match="holder cannot lock the content"):
        await remove_while_locked(KEY, target=target, holder=holder, clock=clock)
    assert KEY in target.contents


async def test_a_repository_is_not_held_to_its_own_copy() -> None:
    world = World()
    clock = SkewedClock(world, 0.0)
    with pytest.raises(RemovalRefused, match="another"):
        await remove_while_locked(
            KEY, target=Distant(world, "same", clock), holder=Distant(world, "same", clock), clock=clock
        )
    assert world.log == []


async def test_two_that_hold_each_other_do_not_both_lose_it() -> None:
    """Each is asked to remove while the other is held: locked content is not removed, so one copy stays."""
    one, other = MemoryStore("one"), MemoryStore("other")
    one.contents[KEY] = other.contents[KEY] = b"x"
    held = await other.lock(KEY)
    assert not (await remove_while_locked(KEY, target=other, holder=one)).ok
    await held.release()
    assert (await remove_while_locked(KEY, target=other, holder=one)).ok
    with pytest.raises(RemovalRefused):
        await remove_while_locked(KEY, target=one, holder=other)
    assert KEY in one.contents


async def test_an_unlock_that_fails_does_not_hide_that_it_was_removed() -> None:
    class Unreachable(MemoryStore):
        async def lock(self, key: Key) -> Lock:
            lock = await super().lock(key)

            async def lost() -> None:
                raise ConnectionLost("gone")

            lock.release = lost  # type: ignore[method-assign]
            return lock

    target, holder = MemoryStore(), Unreachable()
    target.contents[KEY] = holder.contents[KEY] = b"x"
    assert await remove_while_locked(KEY, target=target, holder=holder) == Removal(True)


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("transport", ["memory", "socket"])
async def test_a_target_that_restarts_after_its_clock_was_read(
    transport: str, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock begins at zero again, so it would remove until long after the lock has ended."""
    target, holder = RestartingRepository(transport), MemoryStore()
    target.store.contents[KEY] = holder.contents[KEY] = b"x"

    timestamp = Remote.timestamp
    restarts = 1

    async def then_restart(remote: Remote) -> int:
        nonlocal restarts
        seconds = await timestamp(remote)
        if restarts:
            restarts -= 1
            await target.restart()
        return seconds

    monkeypatch.setattr(Remote, "timestamp", then_restart)
    async with served(target.store, peers=target.peers, connections=connections) as remote:
        for _ in range(connections):
            assert await remote.check_present(KEY)
        with pytest.raises(ConnectionLost):
            await remove_while_locked(KEY, target=remote, holder=holder)
        assert target.store.contents == {KEY: b"x"}
        assert not (await holder.remove(KEY)).ok, "as far as we know, the target may still be about to remove"
        assert (await remove_while_locked(KEY, target=remote, holder=holder)).ok


@pytest.mark.parametrize("rotten", [False, True])
async def test_verify_removes_only_while_a_good_copy_is_locked(rotten: bool) -> None:
    key = key_of(b"hello")
    target, holder = MemoryStore("target"), MemoryStore("holder")
    target.contents[key], holder.contents[key] = b"hello", b"jello" if rotten else b"hello"
    if rotten:
        with pytest.raises(RemovalRefused, match="or its copy is damaged; nothing was removed"):
            await remove_while_locked(key, target=target, holder=holder, verify=True)
        assert key in target.contents
    else:
        assert (await remove_while_locked(key, target=target, holder=holder, verify=True)).ok
        assert key not in target.contents


async def test_no_time_left_removes_nothing_also_where_the_target_s_clock_has_just_begun() -> None:
    """A deadline is never before the start of the target's clock, and one at its start has passed."""
    world = World()
    clock = SkewedClock(world, 0.0)
    holder = Distant(world, "holder", clock)

    class NoTime(Distant):
        async def timestamp(self) -> int:
            world.now += RETENTION - 1
            return 0

    late = NoTime(world, "late", clock)
    with pytest.raises(RemovalRefused, match="no time was left"):
        await remove_while_locked(KEY, target=late, holder=holder, clock=clock)
    assert KEY in late.contents
