"""How long content is kept for clients that locked it, and the files that say so."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pannex.service import NotLocked
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system import durability
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, annex, beside, locked, mode
from tests.support.clocks import ManualClock
from tests.support.fsyncs import record_fsyncs
from tests.system.mounts import pretended_file_systems


async def test_files_of_a_lock(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        async with await locked(one):
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}
            path = one.layout.find(KEY)
            assert Path(os.fsdecode(path + b".rtm")).read_bytes() == b"%.6fs" % (clock.wall() + 600)
            assert mode(os.path.dirname(path)) == 0o555
            with open(path + b".lck", "rb+") as file:
                assert try_range(file.fileno(), fcntl.F_RDLCK), "other clients can lock it too"
                assert not try_range(file.fileno(), fcntl.F_WRLCK), "no client can remove it"
        assert beside(one) == {""}
        assert mode(os.path.dirname(path)) == 0o555


async def test_one_unlock_does_not_end_what_a_lost_client_was_promised(repository: Path) -> None:
    """There is one time for all locks in git-annex's file: it stays while any promise is left."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        lost = await locked(one)
        await lost.aclose()
        clock.advance(100)
        async with await locked(other):
            pass
        assert ".rtm" in beside(one)
        assert not (await other.remove(KEY)).ok
        clock.advance(499)
        assert not (await other.remove(KEY)).ok
        clock.advance(102)  # the second promise was for longer, and its time stood for both
        assert (await one.remove(KEY)).ok
    assert beside(one) == set()


@pytest.mark.parametrize("first", [0, 1])
async def test_the_last_unlock_takes_the_time_away(repository: Path, first: int) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        locks = [await locked(one)]
        clock.advance(100)
        locks.append(await locked(other))
        async with locks[1 - first]:
            async with locks[first]:
                pass
            assert ".rtm" in beside(one)
            assert not (await one.remove(KEY)).ok
        assert beside(one) == {""}
        assert (await other.remove(KEY)).ok


async def test_what_others_keep_is_kept_and_what_they_remove_is_not_locked(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = one.layout.find(KEY)
        os.chmod(os.path.dirname(path), 0o755)
        with open(path + b".lck", "wb+") as file:
            assert try_range(file.fileno(), fcntl.F_RDLCK)
            assert not (await one.remove(KEY)).ok
            async with await locked(one):
                pass
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}, "a client that still locks it may rely on it"
            assert try_range(file.fileno(), fcntl.F_WRLCK)
            with pytest.raises(NotLocked):
                await one.lock(KEY)


async def test_what_expired_locks_leave_is_swept_while_the_store_is_open(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pannex.stores.annex.retention.SWEEP_INTERVAL", 0.01)
    clock = ManualClock()
    own = annex(repository) / "p2pannex"
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one, KEY)).aclose()
        await trio.sleep(0.05)
        assert ".rtm" in beside(one)
        clock.advance(601)
        with trio.fail_after(5):
            while any((own / "written").iterdir()):  # noqa: ASYNC110 - a thread removes it
                await trio.sleep(0.01)
    assert beside(one) == {""}
    assert not list((own / "retention").iterdir())


async def test_a_removal_sweeps_records(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        for content in (CONTENT, b"other"):
            await store(one, content)
        await (await locked(one, KEY)).aclose()
        clock.advance(601)
        assert (await one.remove(key_of(b"other"))).ok
        assert not list((annex(repository) / "p2pannex" / "retention").iterdir())


async def test_what_expired_locks_leave_is_swept(repository: Path) -> None:
    """Also where git-annex has removed the content."""
    clock = ManualClock()
    keys = [key_of(b"%d" % number) for number in range(60)]
    own = annex(repository) / "p2pannex"
    async with AnnexStore(repository, clock=clock) as one:
        for number, key in enumerate(keys):
            await store(one, b"%d" % number, key)
            await (await locked(one, key)).aclose()
        gone = Path(os.fsdecode(one.layout.find(keys[0]))).parent
        gone.chmod(0o755)
        shutil.rmtree(gone)
        one._retention.sweep()
        assert len(list((own / "written").iterdir())) == 60
        clock.advance(601)
    for _ in range(10):
        async with AnnexStore(repository, clock=clock):
            pass
    assert not list((own / "written").iterdir())
    assert not list((own / "retention").iterdir())
    assert all(".rtm" not in beside(one, key) for key in keys)


@pytest.mark.parametrize("file_system", ["btrfs", "xfs"])
async def test_the_first_record_is_durable_up_to_the_git_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: str
) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        systems = pretended_file_systems(tmp_path / "pretended", repository, file_system, journal=False)
        monkeypatch.setattr(durability, "SYSTEM", systems)
        fsynced = record_fsyncs(monkeypatch)
        own = annex(repository) / "p2pannex"
        shutil.rmtree(own)
        async with await locked(one):
            pass
        needed = {own / "retention", *((own, annex(repository), annex(repository).parent) * (file_system == "btrfs"))}
        assert {str(path) for path in needed} <= set(fsynced)
        fsynced.clear()
        async with await locked(one):
            pass
        assert str(own) not in fsynced, "once is enough"


# Each of the two kinds of files protects by itself ---------------------------------------------------------------


def remove_beside(one: AnnexStore, *endings: str) -> None:
    """Remove files beside the object, as git-annex does when it releases its last lock."""
    path = Path(os.fsdecode(one.layout.find(KEY)))
    path.parent.chmod(0o755)
    for ending in endings:
        path.with_name(path.name + ending).unlink()


def our_records(repository: Path, one: AnnexStore) -> None:
    """git-annex knows no others."""
    shutil.rmtree(annex(repository) / "p2pannex" / "retention")


def files_of_git_annex(repository: Path, one: AnnexStore) -> None:
    remove_beside(one, ".lck", ".rtm", ".rtl")


@pytest.mark.parametrize("client", ["connected", "lost"])
@pytest.mark.parametrize("gone", [our_records, files_of_git_annex])
async def test_either_kind_of_files_protects_when_the_other_is_gone(
    repository: Path, client: str, gone: Callable[[Path, AnnexStore], None]
) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        lock = await locked(one)
        if client == "lost":
            await lock.aclose()
        gone(repository, one)
        clock.advance(599)
        for each in (one, other):
            assert not (await each.remove(KEY)).ok
        clock.advance(2)
        remover = one if gone is our_records else other
        assert (await remover.remove(KEY)).ok == (client == "lost")
        await lock.aclose()


async def test_the_file_lock_of_a_lost_client_stays(repository: Path) -> None:
    """git-annex removes the timestamp when it gets the lock file exclusively."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        path = one.layout.find(KEY)

        def removable() -> bool:
            with open(path + b".lck", "rb+") as file:
                return try_range(file.fileno(), fcntl.F_WRLCK)

        clock.advance(599)
        one._annex_retention.abandoned.release_expired()
        assert not removable()
        clock.advance(2)
        one._annex_retention.abandoned.release_expired()
        assert removable()


async def test_a_removal_holds_the_lock_file_until_the_content_is_gone(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise git-annex could lock the content in between."""
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = one.layout.find(KEY)
        discard = one.layout.discard
        tried: list[bool] = []

        def discard_observed(path: bytes) -> None:
            with open(path + b".lck", "rb+") as file:
                tried.append(try_range(file.fileno(), fcntl.F_RDLCK))
            discard(path)
            with open(path + b".lck", "rb+") as file:
                tried.append(try_range(file.fileno(), fcntl.F_RDLCK))

        monkeypatch.setattr(one.layout, "discard", discard_observed)
        assert (await one.remove(KEY)).ok
        assert tried == [False, False]
        assert not os.path.exists(path)


async def test_content_that_is_removed_while_a_lock_waits_is_not_locked(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git-annex takes no exclusion of ours."""
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        shared_lock = one._annex_retention._shared_lock

        def late(place: bytes) -> object:
            lock = shared_lock(place)
            path.parent.chmod(0o755)
            path.unlink()
            return lock

        monkeypatch.setattr(one._annex_retention, "_shared_lock", late)
        with pytest.raises(NotLocked):
            await one.lock(KEY)
        assert not path.parent.exists(), "nothing is left"


async def test_a_release_waits_for_the_exclusion(repository: Path) -> None:
    """Another process may be writing the timestamp for its own lock."""
    async with AnnexStore(repository) as one, AnnexStore(repository) as other:
        await store(one, CONTENT, KEY)
        lock = await locked(one)
        async with trio.open_nursery() as nursery:
            with other._exclusion.hold(KEY):
                nursery.start_soon(lock.release)
                await trio.sleep(0.15)
                assert ".rtm" in beside(one)
        assert beside(one) == {""}


async def test_a_refused_removal_leaves_what_stands_beside_the_object(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        path.parent.chmod(0o755)
        rtm = path.with_name(path.name + ".rtm")
        rtm.write_text(f"{clock.wall() + 500}s")
        assert not (await one.remove(KEY)).ok
        assert rtm.exists()
        assert not (await one.remove(KEY)).ok
