"""A second upload of a key waits for the first."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.service import AlreadyHave, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of


async def test_a_second_upload_waits_for_the_first(directory: Path) -> None:
    key = key_of(b"content")
    first = await DirectoryStore(directory).put(key)
    assert isinstance(first, Upload)
    answers: list[object] = []

    async def second() -> None:
        answers.append(await DirectoryStore(directory).put(key))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await trio.sleep(0.1)
        assert answers == []
        async with first:
            await first.begin(7)
            await first.send_all(memoryview(b"content"))
            await first.finish(True)
    assert answers == [AlreadyHave()]


async def test_a_second_upload_is_refused_in_the_end(directory: Path, autojump_clock: trio.testing.MockClock) -> None:
    key = key_of(b"content")
    first = await DirectoryStore(directory).put(key)
    assert isinstance(first, Upload)
    async with first:
        with pytest.raises(RemoteError, match="another upload of this key is in progress"):
            await DirectoryStore(directory).put(key)
