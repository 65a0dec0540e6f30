"""annex.pidlock: one lock for the repository, held by one process; and a table of locks in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pannex.git_annex import pid_locks
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.pid_locks import PidLocks, locks_of, side_lock_path
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import KERNEL_LOCKS, try_range
from p2pannex.testing.samples import fetch, store
from tests.support.git import git


@pytest.fixture
def locks(tmp_path: Path) -> PidLocks:
    return PidLocks(os.fsencode(tmp_path))


@pytest.fixture
def fds(tmp_path: Path, locks: PidLocks) -> Iterator[list[int]]:
    """Four open files, of which the first three are one."""
    opened = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("one", "one", "one", "other")]
    yield opened
    for fd in opened:
        with contextlib.suppress(OSError):
            locks.close(fd)
    assert not os.path.exists(side_lock_path(os.fsencode(tmp_path / "pidlock"))), "nothing is left"


def lock_file(tmp_path: Path, pid: int, host: str | None = None) -> Path:
    path = tmp_path / "pidlock"
    path.write_text(f'PidLock {{lockingPid = {pid}, lockingHost = "{host or socket.gethostname()}"}}')
    return path


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_lock_file_is_there_while_any_lock_is_held(tmp_path: Path, locks: PidLocks, fds: list[int]) -> None:
    path = tmp_path / "pidlock"
    assert locks.try_lock(fds[0])
    assert path.read_text() == f'PidLock {{lockingPid = {os.getpid()}, lockingHost = "{socket.gethostname()}"}}'
    assert locks.try_lock(fds[3])
    locks.close(fds[0])
    assert path.exists()
    locks.close(fds[3])
    assert not path.exists()
    assert not os.path.exists(side_lock_path(os.fsencode(path)))
    assert not list(tmp_path.glob("locktmp*"))


def test_tasks_of_one_process_exclude_each_other(locks: PidLocks, fds: list[int]) -> None:
    one, same, again, other = fds
    assert locks.try_range(one, fcntl.F_RDLCK)
    assert locks.try_range(same, fcntl.F_RDLCK)
    assert not locks.try_range(again, fcntl.F_WRLCK)
    assert locks.try_range(other, fcntl.F_WRLCK)
    assert not locks.try_range(one, fcntl.F_WRLCK), "it is still shared"
    locks.close(same)
    assert locks.try_range(one, fcntl.F_WRLCK), "the last one makes it exclusive"
    assert locks.try_lock(again), "flock and fcntl do not exclude each other"


def test_ranges(locks: PidLocks, fds: list[int]) -> None:
    assert locks.try_range(fds[0], fcntl.F_WRLCK, 10, 1)
    assert locks.try_range(fds[1], fcntl.F_WRLCK, 11, 1)
    assert not locks.try_range(fds[2], fcntl.F_WRLCK, 0)
    assert not locks.try_range(fds[2], fcntl.F_RDLCK, 10, 1)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    ("pid", "host", "taken_over"),
    [("ended", None, True), ("running", None, False), ("ended", "elsewhere", False), ("ours", None, True)],
)
def test_what_a_killed_process_left(
    tmp_path: Path,
    locks: PidLocks,
    fds: list[int],
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
    pid: str,
    host: str | None,
    taken_over: bool,
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refused)
    number = {"ended": ended_process, "running": os.getppid, "ours": os.getpid}[pid]()
    path = lock_file(tmp_path, number, host)
    before = path.read_text()
    assert locks.try_lock(fds[0]) is taken_over
    assert (path.read_text() != before) is (taken_over and pid == "ended")
    locks.close(fds[0])
    assert path.exists() is not taken_over


def refused(source: bytes, target: bytes) -> None:
    raise PermissionError(1, "no links here")


@pytest.mark.parametrize("text", ["", "junk", "PidLock {lockingPid = x}"])
def test_a_file_that_makes_no_sense_is_left_alone(tmp_path: Path, locks: PidLocks, fds: list[int], text: str) -> None:
    (tmp_path / "pidlock").write_text(text)
    assert not locks.try_lock(fds[0])
    assert (tmp_path / "pidlock").read_text() == text


def test_two_processes_do_not_both_hold_it(tmp_path: Path, locks: PidLocks, fds: list[int]) -> None:
    script = (
        "import os, sys\nfrom p2pannex.git_annex.pid_locks import PidLocks\n"
        "locks = PidLocks(os.fsencode(sys.argv[1]))\nfd = os.open(sys.argv[1] + '/another', os.O_RDWR | os.O_CREAT)\n"
        "print(locks.try_lock(fd), flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert not locks.try_lock(fds[0])
        other.kill()
        other.communicate()
    assert locks.try_lock(fds[0]), "the holder was killed"
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_lock_file_of_another_users_process_stays(
    tmp_path: Path, locks: PidLocks, fds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_ours(pid: int, signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", not_ours)
    path = lock_file(tmp_path, 1)
    before = path.read_text()
    assert not locks.try_lock(fds[0])
    assert path.read_text() == before


def test_without_the_side_lock_no_lock_file_is_replaced(tmp_path: Path, locks: PidLocks, fds: list[int]) -> None:
    """Another process that has it may be replacing the file at this moment."""
    path = lock_file(tmp_path, ended_process())
    before = path.read_text()
    with open(side_lock_path(os.fsencode(path)), "w+b") as side:
        assert try_range(side.fileno(), fcntl.F_WRLCK)
        assert not locks.try_lock(fds[0])
        assert path.read_text() == before
    assert locks.try_lock(fds[0])


def test_a_side_lock_that_was_removed_meanwhile_is_none(
    tmp_path: Path, locks: PidLocks, fds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes it. Who opened it before would lock a file that no other process finds."""
    side = side_lock_path(os.fsencode(tmp_path / "pidlock"))

    def late(fd: int, kind: int) -> bool:
        monkeypatch.undo()
        os.unlink(side)
        return try_range(fd, kind)

    monkeypatch.setattr(pid_locks, "try_range", late)
    assert not locks.try_lock(fds[0])
    assert not (tmp_path / "pidlock").exists()
    assert locks.try_lock(fds[0]), "the next attempt gets it"


def test_side_locks_are_named_as_git_annex_names_them() -> None:
    """Observed with git-annex 10.20261026."""
    assert side_lock_path(b"/tmp/p2pcase.PTbBiP/srv/.git/annex/pidlock") == (
        b"/dev/shm/23dad45d2d74613711fdd51a59bfc040se.PTbBiP_srv_.git_annex_pidlock.lck"
    )
    assert side_lock_path("/q/a_b:c d%e&fé/.git/annex/pidlock".encode()) == (
        "/dev/shm/1c1a0950552f26afe6349d1ff2525220_a_b:c d%e&fé_.git_annex_pidlock.lck".encode()
    )


def test_only_where_it_is_set(path: Path) -> None:
    assert locks_of(AnnexConfig(os.fsencode(path), {"annex.uuid": "u"})) is KERNEL_LOCKS
    config = AnnexConfig(os.fsencode(path), {"annex.uuid": "u", "annex.pidlock": "true"})
    assert locks_of(config) is locks_of(config), "all stores of the process share its locks"
    assert isinstance(locks_of(config), pid_locks.PidLocks)


async def test_a_store_works_where_the_kernel_has_no_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(path, "config", "annex.pidlock", "true")
    real = fcntl.fcntl, fcntl.flock

    def in_annex(fd: int) -> bool:
        return "/annex/" in os.readlink(f"/proc/self/fd/{fd}")

    def no_fcntl(fd: int, *arguments: int) -> object:
        if in_annex(fd):
            raise OSError(37, "No locks available")
        return real[0](fd, *arguments)

    def no_flock(fd: int, operation: int) -> None:
        if in_annex(fd):
            raise OSError(38, "Function not implemented")
        real[1](fd, operation)

    monkeypatch.setattr(fcntl, "fcntl", no_fcntl)
    monkeypatch.setattr(fcntl, "flock", no_flock)
    async with AnnexStore(path) as annex:
        key = await store(annex, b"content")
        lock = await annex.lock(key)
        assert lock is not None
        assert not (await annex.remove(key)).ok
        assert (path / "annex/pidlock").exists(), "git-annex must not remove it either"
        await lock.release()
        assert not (path / "annex/pidlock").exists()
        lost = await annex.lock(key)
        assert lost is not None
        await lost.aclose()
        assert not (path / "annex/pidlock").exists(), "a lost client does not lock the whole repository"
        assert not (await annex.remove(key)).ok
        assert await fetch(annex, key) == b"content"
    git(path, "config", "annex.pidlock", "false")
    async with AnnexStore(path) as annex:
        with pytest.raises(Exception, match=r"no file locks .* git config annex\.pidlock true"):
            await store(annex, b"other")
    monkeypatch.undo()
