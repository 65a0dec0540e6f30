"""The time in git-annex's file that others wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.samples import store
from tests.stores.annex.repository import CONTENT, KEY, beside, locked
from tests.support.clocks import ManualClock


@pytest.mark.parametrize("later", [False, True])
async def test_a_time_that_others_wrote_is_honoured_and_left(repository: Path, later: bool) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        path.parent.chmod(0o755)
        rtm = path.with_name(path.name + ".rtm")
        rtm.write_text(f"{clock.wall() + (700 if later else 500)}s")
        assert not (await one.remove(KEY)).ok
        async with await locked(one):
            assert float(rtm.read_text().rstrip("s")) == clock.wall() + (700 if later else 600)
        assert beside(one) == {"", ".rtm"}, "theirs was a promise too"
        clock.advance(499)
        assert not (await one.remove(KEY)).ok
        clock.advance(202)
        assert (await one.remove(KEY)).ok


async def test_a_time_that_makes_no_sense_counts_from_its_file(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        path.parent.chmod(0o755)
        rtm = path.with_name(path.name + ".rtm")
        rtm.write_text("soon")
        assert not (await one.remove(KEY)).ok
        os.utime(rtm, (1, 1))
        assert (await one.remove(KEY)).ok
