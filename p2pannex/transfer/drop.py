"""Dropping content from one repository while another one is held to its copy.

This is what the ten minutes of LOCKCONTENT and the deadline of REMOVE-BEFORE are for (protocol-spec sections 6 and
7). The argument why it cannot lose content is in `remove_while_locked`.
"""

from __future__ import annotations

import math

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, Lock, Removal, Service
from p2pannex.system.clock import Clock, SystemClock

MARGIN = 30
"""Seconds by which a removal ends before the lock may, for clocks that do not run equally fast."""


class RemovalRefused(RemoteError):
    """Nothing was removed, because it would not have been safe."""


async def remove_while_locked(
    key: Key,
    *,
    target: Service,
    holder: Service,
    clock: Clock | None = None,
    refuse_without_deadline: bool = False,
) -> Removal:
    """Remove content from `target` while `holder` is kept from removing its own copy.

    Why the last copy is never lost, as long as machines' clocks run equally fast to one part in twenty, and go on
    while the machines sleep:

    1. The holder promises to keep its content for RETENTION from when it records the lock, which is after L, our
       clock before we asked. Its promise ends early only by our UNLOCKCONTENT, which we send only once the target has
       said whether it removed. So by our clock the content is there until L + RETENTION at least, whatever
       connection breaks.
    2. The target removes only while its own clock, in whole seconds, is less than `before`. It read T from that clock
       before we read M from ours. So `before` = T + (L + RETENTION - MARGIN - M), rounded down, is no later than our
       L + RETENTION - MARGIN: a delay between the two readings, or before or after them, only shortens the time.
    3. From 1 and 2: when the target removes, the holder's promise has MARGIN seconds to go.

    A target older than protocol version 3 has no deadlines. It is asked to remove while we hold the lock and our own
    clock shows time left, and nothing bounds how long that request may be under way. With `refuse_without_deadline` it
    is not asked at all. A removal that was asked for and got no answer, or an ERROR, leaves the lock to expire.

    RemovalRefused where the two are the same repository, where the holder cannot lock, and where no time is left; other
    RemoteErrors; ConnectionLost, after which the content may be removed or not.
    """
    clock = clock or SystemClock()
    # Its own lock would not keep a repository from obeying us: two names for one repository are one copy.
    if target.uuid == holder.uuid:
        raise RemovalRefused("the repository that holds the content must be another than the one it is removed from")
    # L is read before the holder is asked: its ten minutes begin later than ours.
    locked = clock.monotonic()
    lock = await holder.lock(key)
    if lock is None:
        raise RemovalRefused(f"repository {holder.uuid} does not have {key}, or cannot lock it; nothing was removed")
    deadline = locked + RETENTION - MARGIN
    try:
        try:
            before = await _translated(deadline, target, clock)
        except Unsupported:
            if refuse_without_deadline:
                await _release(lock)
                raise RemovalRefused(f"repository {target.uuid} is too old to remove before a deadline") from None
            before = None
        # For a target without deadlines this look at the clock is all there is, so nothing comes after it.
        if clock.monotonic() >= deadline:
            await _release(lock)  # nothing was asked of the target yet
            raise RemovalRefused("no time was left to remove the content while it was locked; try again")
        removal = await target.remove(key, before=before)
        # The target has answered: it is not going to remove later. Only now may the holder. Whatever else leaves this
        # function (an error, cancellation) does not unlock: the target may still be about to remove.
        await _release(lock)
        return removal
    finally:
        await lock.aclose()


async def _translated(deadline: float, target: Service, clock: Clock) -> int:
    """The deadline on the target's clock."""
    # This order and no other: read first, the target's clock is behind what it shows when ours is read.
    there = await target.timestamp()
    here = clock.monotonic()
    return max(0, there + math.floor(deadline - here))


async def _release(lock: Lock) -> None:
    try:
        await lock.release()
    except (ConnectionLost, RemoteError):
        pass  # it expires by itself
