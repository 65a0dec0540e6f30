"""Waiting for what sets no event: files, and what other processes do."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool]) -> None:
    """Wait up to a minute, which no honest work takes, however busy the machine is."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - it sets no event
            await trio.sleep(0.01)
