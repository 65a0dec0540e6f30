"""Special remote programs in trouble, and deadlines of removals: real programs."""

from __future__ import annotations

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.service import Removal
from p2pannex.testing.samples import fetch, key_of, store
from tests.stores.external.special_remote import Remote

# Trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "it ended with exit status 3 (standard error: something broke; the password was ***)"),
        ("garbage", "belongs to no job"),
        ("unknown", "'GETFOO', which is not a message"),
        ("huge", "a line that is too long"),
        ("hang", "it took longer than 0.5 s to reply to CHECKPRESENT"),
        ("chatter", "it took longer than 0.5 s to reply to CHECKPRESENT"),
        ("other", "it replied to CHECKPRESENT with CHECKPRESENT-SUCCESS for another request"),
        ("error", "it is all too much, ***"),
        ("eof", "it closed its output"),
        ("unknowable-only", "cannot tell whether the content is present: the cloud is away"),
    ],
)
async def test_a_program_in_trouble_is_told_of_and_replaced(how: str, said: str, remote: Remote) -> None:
    if how == "garbage" and not remote.words:
        said = "which is not a message of this protocol"
    async with remote.open(timeout=0.5 if how in ("hang", "chatter") else 60) as external:
        remote.trouble("CHECKPRESENT", how)
        with pytest.raises(RemoteError) as caught:
            await external.check_present(key_of(b"x"))
        assert said in str(caught.value)
        assert "special remote cloud" in str(caught.value)
        assert "pass word" not in str(caught.value)
        key = await store(external, b"afterwards")
        assert await fetch(external, key) == b"afterwards"


# Time ------------------------------------------------------------------------------------------------------------


async def test_the_deadline_is_looked_at_when_the_program_is_free(remote: Remote) -> None:
    """It has not passed when the removal is asked for, and has when there is a program to do it."""
    async with remote.open() as external:
        key = await store(external, b"kept")
        deadline = await external.timestamp() + 1000
    remote.trouble("PREPARE", "slow")
    async with remote.open() as external:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def jump() -> None:
                await trio.sleep(0.1)
                remote.clock.ahead = 1000

            removal = await external.remove(key, before=deadline)
        assert removal == Removal(False)
        assert await external.check_present(key)
        remote.clock.ahead = 0
        assert await external.remove(key, before=deadline) == Removal(True)


async def test_a_removal_that_hangs_is_killed_at_its_deadline(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"kept")
        remote.trouble("REMOVE", "hang")
        with pytest.raises(RemoteError, match="to reply to REMOVE"):
            await external.remove(key, before=await external.timestamp() + 1)
        assert await external.check_present(key)


async def test_a_program_whose_request_was_cancelled_gets_no_other(remote: Remote) -> None:
    """Its reply still comes, and would be taken for that to the next request."""
    async with remote.open() as external:
        key = await store(external, b"content")
        remote.trouble("CHECKPRESENT", "slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(external.check_present, key)
            await remote.has_begun("CHECKPRESENT")
            nursery.cancel_scope.cancel()
        assert await external.check_present(key)
        assert remote.prepared == 2


async def test_a_removal_that_was_sent_is_waited_for(remote: Remote) -> None:
    """Else it could still happen after the content was stored again."""
    async with remote.open() as external:
        key = await store(external, b"removed")
        remote.trouble("REMOVE", "slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(external.remove, key)
            await remote.has_begun("REMOVE")
            nursery.cancel_scope.cancel()
        assert not await external.check_present(key)
        assert remote.prepared == 1
