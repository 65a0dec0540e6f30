"""Dropping: removing content from one repository while another copy is locked.

LOCKCONTENT's ten minutes and REMOVE-BEFORE's deadline exist for this (protocol-spec sections 6 and 7). The docstring of
`remove_while_locked` explains why the last copy cannot be lost.
"""

from __future__ import annotations

import math

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import RETENTION, Lock, NotLocked, Removal, Service
from p2pannex.system.clock import Clock, SystemClock

MARGIN = 30
"""The removal must be done this many seconds before the lock can expire, because clocks run at different speeds."""


class RemovalRefused(RemoteError):
    """Nothing was removed, because the removal would not have been safe."""


async def remove_while_locked(
    key: Key,
    *,
    target: Service,
    holder: Service,
    clock: Clock | None = None,
    refuse_without_deadline: bool = False,
    verify: bool = False,
) -> Removal:
    """Remove content from `target` while a lock keeps `holder` from removing its own copy.

    This cannot remove the last copy, if the clocks of the machines continue while a machine is suspended, and if their
    speeds differ by at most one part in twenty. MARGIN covers that difference, so these steps ignore it:

    1. L is the client's clock, read before it sends LOCKCONTENT to the holder. The holder records the lock after that
       and keeps the content for RETENTION from then on. Only the client's UNLOCKCONTENT ends the lock earlier, and the
       client sends it only after the target has replied to the removal. So the holder has the content until the
       client's clock shows L + RETENTION, or longer, even if connections break.
    2. T is the target's clock, read by the target for GETTIMESTAMP. M is the client's clock, read after the reply has
       arrived. The client sends `before` = T + (L + RETENTION - MARGIN - M), rounded down. The target removes the
       content only while its clock, in whole seconds, is less than `before`. T was read before M, so the target's clock
       reaches `before` no later than the client's clock reaches L + RETENTION - MARGIN. A delay between the two
       readings, or before or after them, only shortens the time. The target's clock did not restart in between: both
       requests use one connection (`Service.pinned`), which a restart of the target ends.
    3. From 1 and 2: when the target removes the content, the lock on the holder's copy has MARGIN seconds left.

    The lock proves that the holder has the content and keeps it. It does not prove that the disk has not damaged the
    content since it was stored: a holder does not read a copy of which it has no reason to doubt. With `verify` the
    whole copy is read and verified first (`Service.verify`), which takes as long as reading or fetching it.

    If the target does not reply to the removal, or replies ERROR, the client does not unlock, and the lock expires.

    A target below protocol version 3 has no deadlines. The client sends REMOVE while it holds the lock and its own
    clock shows that time is left, but nothing limits how long the request may be on its way. With
    `refuse_without_deadline` the client does not send it, and RemovalRefused is raised.

    `clock` is the client's clock. RemovalRefused if `target` and `holder` are the same repository, if the holder's copy
    is not there, wrong (with `verify`) or cannot be locked, or if no time is left; other RemoteErrors; ConnectionLost,
    after which the content may or may not have been removed.
    """
    clock = clock or SystemClock()
    # Two names for one repository are one copy. A lock there need not prevent this client's own removal.
    if target.uuid == holder.uuid:
        raise RemovalRefused("the content must be locked in another repository than the one it is removed from")
    # Before the lock, because it may take longer than a lock lasts.
    if verify and not await holder.verify(key):
        raise RemovalRefused(
            f"repository {holder.uuid} does not have {key}, or its copy is damaged; nothing was removed"
        )
    # L is read before LOCKCONTENT is sent, so that the client's ten minutes start before the holder's.
    locked = clock.monotonic()
    try:
        lock = await holder.lock(key)
    except NotLocked as error:
        raise RemovalRefused(
            f"repository {holder.uuid} cannot lock the content: {error}; nothing was removed"
        ) from error
    deadline = locked + RETENTION - MARGIN
    try:
        async with target.pinned() as pinned:
            try:
                before = await _translated(deadline, pinned, clock)
            except Unsupported:
                if refuse_without_deadline:
                    await _release(lock)
                    raise RemovalRefused(f"repository {target.uuid} is too old to remove before a deadline") from None
                before = None
            # For a target without deadlines this check is the only one, so REMOVE is sent immediately after it.
            if clock.monotonic() >= deadline:
                await _release(lock)  # the removal was not requested yet
                raise RemovalRefused("no time was left to remove the content while it was locked; try again")
            removal = await pinned.remove(key, before=before)
            # The target has replied, so it will not remove the content later, and the holder may be unlocked. If an
            # error or cancellation ends this function, the lock stays: the target may still remove the content.
            await _release(lock)
            return removal
    finally:
        await lock.aclose()


async def _translated(deadline: float, target: Service, clock: Clock) -> int:
    """The deadline, translated to the target's clock."""
    # The order matters: the target's clock is read first, so a delay between the two readings shortens the deadline.
    target_now = await target.timestamp()
    now = clock.monotonic()
    return max(0, target_now + math.floor(deadline - now))


async def _release(lock: Lock) -> None:
    try:
        await lock.release()
    except (ConnectionLost, RemoteError):
        pass  # the lock expires by itself
