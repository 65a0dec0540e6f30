"""How long content is kept for clients that locked it, and the files that say so."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from p2pannex.service import NotLocked
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system import durability
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, annex, beside, locked, mode
from tests.support.clocks import ManualClock
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
        fsynced = []
        real_fsync = os.fsync

        def fsync(fd: int) -> None:
            fsynced.append(os.readlink(f"/proc/self/fd/{fd}"))
            real_fsync(fd)

        monkeypatch.setattr(os, "fsync", fsync)
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
