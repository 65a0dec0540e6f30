"""The processes of special remote programs: how they begin, and that none is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.stores.external.store import ExternalStore
from p2pannex.testing.samples import key_of, store
from tests.stores.external.special_remote import UUID, Remote


async def test_programs_that_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="there is no program git-annex-remote-nothing"):
        ExternalStore(UUID, "git-annex-remote-nothing", {}, tmp_path / "spool", tmp_path / "state")
    for words, said in ((["echo", "hello"], "began with 'hello'"), (["sleep", "60"], "longer than 0.2 s to start")):
        async with ExternalStore(UUID, words, {}, tmp_path / "spool", tmp_path / "state", timeout=0.2) as external:
            with pytest.raises(RemoteError, match=said):
                await external.check_present(key_of(b"x"))
    with pytest.raises(RemoteError, match="has a space"):
        ExternalStore(UUID, "echo", {}, tmp_path / "a spool", tmp_path / "state")


def children() -> set[str]:
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


async def test_nothing_is_left_running(remote: Remote) -> None:
    before = (set(os.listdir("/proc/self/fd")), children())
    async with remote.open() as external:
        await store(external, b"content")
        remote.trouble("CHECKPRESENT", "hang")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(external.check_present, key_of(b"x"))
            await remote.has_begun("CHECKPRESENT")
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
        assert not await external.check_present(key_of(b"x"))
    assert (set(os.listdir("/proc/self/fd")), children()) == before
