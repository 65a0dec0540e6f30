"""The suite for every Service finds what is wrong."""

from __future__ import annotations

import pytest

from p2pannex.keys.key import Key
from p2pannex.service import Removal
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.checks_of_keeping import removes
from p2pannex.testing.services import check_service


class Forgetful(MemoryStore):
    """Says of everything that it was removed."""

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        return Removal(True)


async def test_the_suite_finds_what_is_wrong() -> None:
    with pytest.raises(AssertionError) as caught:
        await check_service(Forgetful, checks=[removes])
    assert "still present" in str(caught.value)
    assert any("removes" in note for note in caught.value.__notes__)
    with pytest.raises(AssertionError):
        await check_service(Forgetful)
