"""The time in git-annex's file that others wrote."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.stores.annex import retention_timestamps
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import try_range
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


def place(one: AnnexStore) -> Path:
    return Path(os.fsdecode(one.layout.find(KEY)))


async def test_a_lock_holds_for_ten_minutes_towards_git_annex(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        async with await locked(one):
            rtm = place(one).with_name(place(one).name + ".rtm")
            assert float(rtm.read_text().rstrip("s\n")) == clock.wall() + 600


async def test_the_time_of_others_is_remembered_through_several_locks(repository: Path) -> None:
    """Ours replaces it because it is later, and is replaced by later ones of ours. Theirs has not expired then."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        place(one).parent.chmod(0o755)
        rtm = place(one).with_name(place(one).name + ".rtm")
        rtm.write_text(f"{clock.wall() + 500}s")
        for _ in range(3):
            clock.advance(10)
            async with await locked(one):
                pass
            assert ".rtm" in beside(one), "it stands for theirs"
        clock.advance(400)
        async with await locked(one):
            pass
        assert ".rtm" in beside(one)
        clock.advance(100)
        async with await locked(one):
            pass
        assert beside(one) == {""}


async def test_the_time_of_others_is_removed_by_no_sweep(repository: Path) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        rtm = place(one).with_name(place(one).name + ".rtm")
        place(one).parent.chmod(0o755)
        clock.advance(601)
        rtm.write_text(f"{clock.wall() + 500}s")
        one._retention.sweep()
        assert rtm.exists()
        assert not (await one.remove(KEY)).ok


@pytest.mark.parametrize("earlier", [None, 500, -5])
async def test_a_lock_that_fails_puts_the_earlier_time_back(
    repository: Path, monkeypatch: pytest.MonkeyPatch, earlier: int | None
) -> None:
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        place(one).parent.chmod(0o755)
        rtm = place(one).with_name(place(one).name + ".rtm")
        if earlier is not None:
            rtm.write_text(f"{clock.wall() + earlier}s")
        real_fsync = os.fsync

        def fsync(fd: int) -> None:
            if (
                rtm.exists()
                and rtm.read_text() == f"{clock.wall() + 600:.6f}s"
                and os.path.isdir(f"/proc/self/fd/{fd}")
            ):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real_fsync(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(RemoteError, match="input/output"):
                await one.lock(KEY)
        if earlier == 500:
            assert rtm.read_text() == f"{clock.wall() + 500}s"
        else:
            assert not rtm.exists()
        assert (await one.remove(KEY)).ok == (earlier != 500)


async def test_a_timestamp_is_changed_with_its_file_locked(repository: Path) -> None:
    """git-annex changes it with the same file locked."""
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        place(one).parent.chmod(0o755)
        path = place(one)
        with path.with_name(path.name + ".rtl").open("w+b") as file:
            assert try_range(file.fileno(), fcntl.F_WRLCK)
            with pytest.raises(RemoteError, match="busy"):
                await one.lock(KEY)
            assert ".rtm" not in beside(one)
        assert (await one.remove(KEY)).ok, "the lock that failed does not bind"


async def test_a_timestamp_is_posix_time(repository: Path) -> None:
    """It is git-annex's: the clock of this boot has nothing to do with it."""
    clock = ManualClock(monotonic_now=5e9)
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        place(one).parent.chmod(0o755)
        place(one).with_name(place(one).name + ".rtm").write_text(f"{clock.wall() + 500}s")
        assert not (await one.remove(KEY)).ok


def holding(path: Path) -> int | None:
    """Lock the content as git-annex does. The open lock file, or None if that is locked exclusively."""
    path.parent.chmod(0o755)
    fd = os.open(f"{path}.lck", os.O_RDWR | os.O_CREAT)
    if try_range(fd, fcntl.F_RDLCK):
        return fd
    os.close(fd)
    return None


async def test_no_timestamp_of_content_that_git_annex_has_locked_is_swept(repository: Path) -> None:
    """It may be renewed at any moment."""
    clock = ManualClock()
    one = AnnexStore(repository, clock=clock)
    await store(one, CONTENT, KEY)
    await (await locked(one)).aclose()
    clock.advance(700)
    one._annex_retention.abandoned.release_expired()
    fd = holding(place(one))
    assert fd is not None
    one._retention.sweep()
    assert ".rtm" in beside(one)
    os.close(fd)
    one._retention.sweep()
    assert beside(one) == {""}
    await one.aclose()


async def test_git_annex_renews_no_timestamp_while_a_sweep_removes_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    one = AnnexStore(repository, clock=clock)
    await store(one, CONTENT, KEY)
    await (await locked(one)).aclose()
    clock.advance(700)
    got: list[int | None] = []
    real = retention_timestamps._read

    def read(path: bytes) -> bytes | None:
        text = real(path)
        if path.endswith(b".rtm"):
            got.append(holding(place(one)))
        return text

    with monkeypatch.context() as patch:
        patch.setattr(retention_timestamps, "_read", read)
        one._retention.sweep()
    assert got == [None]
    assert beside(one) == {""}
    await one.aclose()
