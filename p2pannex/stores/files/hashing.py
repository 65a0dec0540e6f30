"""Hashing what is in a file, as far as a `Verifier` has not received it yet."""

from __future__ import annotations

import os

import trio

from p2pannex.keys.verify import Verifier

BLOCK = 1 << 20
"""Bytes that are read at once."""

HASH_ON_LOOP = 64 * 1024
"""Bytes up to which content is hashed on the event loop: another thread would take longer."""

STEP = 16 << 20
"""Bytes that are hashed before the task looks whether it was cancelled."""


def hash_to(fd: int, verifier: Verifier, end: int) -> bool:
    """Hash the file up to byte `end`. It blocks. False if the file has ended before that."""
    block = memoryview(bytearray(min(max(0, end - verifier.received), BLOCK)))
    while verifier.received < end:
        count = os.preadv(fd, [block[: end - verifier.received]], verifier.received)
        if not count:
            return False
        verifier.update(block[:count])
    return True


async def hash_in_steps(fd: int, verifier: Verifier, end: int) -> bool:
    """`hash_to`, in a thread unless it is short. A task that is cancelled stops after the step that runs."""
    if end - verifier.received <= HASH_ON_LOOP:
        await trio.lowlevel.checkpoint_if_cancelled()
        return hash_to(fd, verifier, end)
    while verifier.received < end:
        if not await trio.to_thread.run_sync(hash_to, fd, verifier, min(verifier.received + STEP, end)):
            return False
    return True
