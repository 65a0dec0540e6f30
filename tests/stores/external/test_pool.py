"""Special remote programs that die are replaced."""

from __future__ import annotations

import pytest

from p2pannex.errors import RemoteError
from p2pannex.service import Removal
from p2pannex.testing.samples import fetch, key_of, store
from tests.stores.external.special_remote import Remote


async def test_a_program_that_dies_between_requests_is_not_noticed(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"content")
        remote.trouble("CHECKPRESENT", "exit")
        assert await external.check_present(key)
        assert remote.prepared == 2
        remote.trouble("TRANSFER", "exit")
        assert await fetch(external, key) == b"content"
        remote.trouble("REMOVE", "exit")
        assert await external.remove(key) == Removal(True)
        assert not await external.check_present(key)


async def test_a_program_that_always_dies_is_not_started_for_ever(remote: Remote) -> None:
    async with remote.open() as external:
        await external.check_present(key_of(b"x"))
        remote.trouble("CHECKPRESENT", "exit", always=True)
        with pytest.raises(RemoteError, match="exit status 3"):
            await external.check_present(key_of(b"x"))
        assert remote.prepared <= 3


@pytest.mark.parametrize(
    ("size", "limit", "stall"),
    [
        (0, 5, 5),
        (1_000_000, 15, 6),
        (100_000_000, 1005, 105),
        (10_000_000_000, 3600, 3600),
        (None, 3600, 3600),
    ],
)
def test_how_long_a_transfer_may_take(remote: Remote, size: int | None, limit: float, stall: float) -> None:
    """The whole time without any progress, and the time from one progress to the next."""
    external = remote.open(timeout=5)
    external._programs._transfer_timeout = 3600
    assert external._programs._limits(size) == (limit, stall)
