"""Waiting for what sets no event: files, and what other processes do."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool]) -> None:
    """Wait for at most 50 seconds: longer than honest work takes, and less than the timeouts under test."""
    with trio.fail_after(50):
        while not condition():  # noqa: ASYNC110 - it sets no event
            await trio.sleep(0.01)
