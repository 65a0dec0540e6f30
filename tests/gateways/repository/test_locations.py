"""The location log of a gateway's nodes, and the Service that keeps it for one of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.repository.locations import LoggedRemote, NodeLog
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.journal import Journal
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.system.disk_work import Inline
from p2pannex.testing.samples import key_of, offer, store
from p2pannex.testing.serving import served
from tests.support.restarting import RestartingRepository

KEY = key_of(b"content")


@pytest.fixture
async def branch(tmp_path: Path) -> AsyncIterator[Branch]:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "annex"], check=True)
    async with Branch(BlockingBranch(tmp_path / "annex")) as branch:
        yield branch


async def test_only_nodes_are_logged(branch: Branch) -> None:
    log = NodeLog(branch, ["u1", "u2"])
    await log.record(KEY, ["u1", "stranger", "u2"], True)
    assert await branch.locations(KEY) == {"u1", "u2"}
    await log.record(KEY, ["u2", "stranger"], False)
    assert await branch.locations(KEY) == {"u1"}


async def test_what_a_repository_does_is_logged_and_the_rest_is_passed_on(branch: Branch) -> None:
    async with (
        Branch(BlockingBranch(branch.blocking.git.git_dir), disk_work=Inline()) as one_client,
        served(MemoryStore("u1"), version=3) as remote,
    ):
        log = NodeLog(one_client, ["u1"])
        service = LoggedRemote(remote, log)
        assert await service.version() == 3
        async with service.bypassing(frozenset({"g"})) as view:
            await store(view, b"content")
        assert await branch.locations(KEY) == {"u1"}
        async with service.pinned() as view:
            assert (await view.remove(KEY, before=await view.timestamp() + 10)).ok
        assert await branch.locations(KEY) == set()
        upload = await service.put(KEY)
        assert isinstance(upload, Upload)
        assert upload.direct is not None, "bytes can be passed on without being read"
        await upload.aclose()
        await store(remote, b"content")
        assert isinstance(await service.put(KEY), AlreadyHave)
        assert await branch.locations(KEY) == {"u1"}


async def test_nodes_are_not_changed_if_it_cannot_be_logged(branch: Branch) -> None:
    journal = Path(os.fsdecode(branch.blocking.journal.directory))
    node = MemoryStore("u1")
    service = LoggedRemote(node, NodeLog(branch, ["u1"]))
    await store(service, b"content")
    aside = journal.with_name("aside")
    journal.rename(aside)
    journal.touch(0o444)
    with pytest.raises(RemoteError, match="journal"):
        await service.remove(KEY)
    assert await node.check_present(KEY)
    with pytest.raises(RemoteError, match="journal"):
        await service.put(key_of(b"more"))
    journal.unlink()
    aside.rename(journal)
    assert (await service.remove(KEY)).ok
    assert await branch.locations(KEY) == set()


@pytest.mark.parametrize("again", [False, True])
async def test_what_could_not_be_logged_is_logged_later(branch: Branch, again: bool) -> None:
    node = MemoryStore("u1")
    log = NodeLog(branch, ["u1"])
    service = LoggedRemote(node, log)
    await store(service, b"content")
    with pytest.MonkeyPatch.context() as patch, Journal(branch.blocking.git.git_dir).lock():
        patch.setattr(branch.blocking.journal, "timeout", 0.01)
        with pytest.raises(RemoteError, match="busy"):
            await service.remove(KEY)
    assert not await node.check_present(KEY)
    if again:
        assert (await LoggedRemote(node, NodeLog(branch, ["u1"])).remove(KEY)).ok
        assert await branch.locations(KEY) == set()
    await log.commit()
    assert await branch.locations(KEY) == set()


KEYS = [key_of(b"%d" % number) for number in range(3)]


async def test_what_could_not_be_logged_is_not_logged_after_a_later_change(branch: Branch) -> None:
    log = NodeLog(branch, ["u1"])
    with pytest.MonkeyPatch.context() as patch, Journal(branch.blocking.git.git_dir).lock():
        patch.setattr(branch.blocking.journal, "timeout", 0.01)
        for key in KEYS:
            with pytest.raises(RemoteError, match="busy"):
                await log.record(key, ["u1"], True)
    async with trio.open_nursery() as nursery:
        with Journal(branch.blocking.git.git_dir).lock():
            nursery.start_soon(log.commit)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(log.record, KEYS[2], ["u1"], False)
            await trio.testing.wait_all_tasks_blocked()
    assert [await branch.locations(key) for key in KEYS] == [{"u1"}, {"u1"}, set()]


async def test_changes_during_a_commit_are_logged_in_their_order(branch: Branch) -> None:
    log = NodeLog(branch, ["u1"])

    async def store_and_remove() -> None:
        await log.record(KEYS[2], ["u1"], True)
        await log.record(KEYS[2], ["u1"], False)

    async with trio.open_nursery() as nursery:
        with Journal(branch.blocking.git.git_dir).lock():  # git-annex has it
            for key in KEYS[:2]:
                nursery.start_soon(log.record, key, ["u1"], True)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(store_and_remove)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(log.commit)
            await trio.testing.wait_all_tasks_blocked()
    assert [await branch.locations(key) for key in KEYS] == [{"u1"}, {"u1"}, set()]


async def test_a_later_change_that_fails_too_is_the_one_that_is_remembered(branch: Branch) -> None:
    """Also if a task that could log an older one returns after it."""
    log = NodeLog(branch, ["u1"])
    with pytest.MonkeyPatch.context() as patch, Journal(branch.blocking.git.git_dir).lock():
        patch.setattr(branch.blocking.journal, "timeout", 0.01)
        for present in (True, False, True, False):
            with pytest.raises(RemoteError, match="busy"):
                await log.record(KEY, ["u1"], present)
    await log.record(KEYS[0], ["u1"], True)
    await log.commit()
    assert await branch.locations(KEY) == set()


async def test_what_could_not_be_logged_is_not_forgotten_for_more(
    branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pannex.gateways.repository.locations.OWED_MAX", 1)
    node = MemoryStore("u1")
    log = NodeLog(branch, ["u1"])
    service = LoggedRemote(node, log)
    await store(service, b"content")
    await store(service, b"more")
    with pytest.MonkeyPatch.context() as patch, Journal(branch.blocking.git.git_dir).lock():
        patch.setattr(branch.blocking.journal, "timeout", 0.01)
        with pytest.raises(RemoteError, match="busy"):
            await service.remove(KEY)
    with pytest.raises(RemoteError, match="1 changes could not be written"):
        await service.remove(key_of(b"more"))
    assert await node.check_present(key_of(b"more"))
    await log.commit()
    assert (await service.remove(key_of(b"more"))).ok
    assert await branch.locations(KEY) == set()


async def test_what_was_refused_is_not_logged(branch: Branch) -> None:
    node = MemoryStore("u1")
    service = LoggedRemote(node, NodeLog(branch, ["u1"]))
    assert await offer(service, b"another", KEY) == NotStored()
    assert await branch.locations(KEY) == set()
    await store(service, b"content")
    lock = await service.lock(KEY)
    assert not (await service.remove(KEY)).ok
    await lock.release()
    assert not (await service.remove(KEY, before=0)).ok, "the deadline has passed"
    assert await node.check_present(KEY)
    assert await branch.locations(KEY) == {"u1"}


async def test_content_that_changed_while_it_was_sent_is_neither_stored_nor_logged(branch: Branch) -> None:
    node, worm = MemoryStore("u1"), Key.parse("WORM-s7-m1--name")
    service = LoggedRemote(node, NodeLog(branch, ["u1"]))
    async with await service.put(worm) as upload:  # type: ignore[union-attr]
        await upload.begin(7)
        await upload.send_all(memoryview(b"content"))
        assert await upload.finish(False) == NotStored()
    assert node.contents == {}
    assert await branch.locations(worm) == set()


async def test_a_node_that_restarts_after_its_clock_was_read(branch: Branch) -> None:
    """Its clock begins at zero again, so the deadline that the client computed would be too late."""
    target = RestartingRepository("memory")
    target.store.contents[KEY] = b"content"
    async with served(target.store, peers=target.peers, connections=2) as remote:
        service = LoggedRemote(remote, NodeLog(branch, [remote.uuid]))
        async with service.pinned() as view:
            before = await view.timestamp() + 10
            await target.restart()
            with pytest.raises(ConnectionLost):
                await view.remove(KEY, before=before)
        assert target.store.contents == {KEY: b"content"}
