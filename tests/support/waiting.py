"""Waiting for what sets no event: files, and what other processes do."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - it sets no event
            await trio.sleep(0.01)
