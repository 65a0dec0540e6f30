"""The journal: its lock, its files, and what others left in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.logs.names import journal_name, location_log_path
from p2pannex.keys.key import Key
from p2pannex.system.disk_work import Batched, DiskWork, Inline, InThreads
from tests.git_annex.logs.examples import KEY, A, B


@contextlib.contextmanager
def locked_by_another(repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the journal's lock, until it has nothing to read any more."""
    holder = f"""
        import fcntl, sys
        file = open({str(repository / "annex/journal.lck")!r}, "r+")
        fcntl.lockf(file, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", "if 1:" + holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.communicate()


@pytest.mark.parametrize("way", [InThreads, Inline, Batched])
async def test_a_journal_locked_by_others(repository: Path, way: type[DiskWork]) -> None:
    async with Branch(BlockingBranch(repository, lock_timeout=0.05), disk_work=way()) as branch:
        await branch.log_location(KEY, A, True)
        with locked_by_another(repository):
            with pytest.raises(RemoteError, match="busy"):
                await branch.log_location(KEY, B, True)
            with pytest.raises(RemoteError, match="busy"):
                await branch.commit()
            assert await branch.locations(KEY) == {A}
        assert await branch.log_location(KEY, B, True)


@pytest.mark.parametrize("way", [InThreads, Inline, Batched])
async def test_the_loop_goes_on_while_others_have_the_lock(repository: Path, way: type[DiskWork]) -> None:
    async with (
        Branch(BlockingBranch(repository, lock_timeout=60), disk_work=way()) as branch,
        trio.open_nursery() as nursery,
    ):
        assert await branch.log_location(KEY, A, True)
        with locked_by_another(repository) as process:
            nursery.start_soon(branch.log_location, KEY, B, True)
            for _ in range(10):
                await trio.sleep(0.01)
            assert await branch.locations(KEY) == {A}
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            with trio.fail_after(50):
                while await branch.locations(KEY) != {A, B}:  # noqa: ASYNC110 - a file has no event
                    await trio.sleep(0.01)


def test_a_log_in_the_journal_is_added_to_while_it_is_small(repository: Path, blocking: BlockingBranch) -> None:
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    blocking.log_location(KEY, B, True)
    blocking.log_location(KEY, A, True)
    before = file.stat().st_ino
    sizes = []
    for number in range(100):
        assert blocking.log_location(KEY, A, bool(number % 2))
        assert blocking.locations(KEY) == ({A, B} if number % 2 else {B})
        sizes.append(file.stat().st_size)
    assert sizes[1] > sizes[0], "the log was not replaced at once"
    assert max(sizes) <= 4096
    assert min(sizes[2:]) < sizes[1], "but in the end, without what is obsolete"
    assert file.stat().st_ino != before
    blocking.commit()
    assert blocking.locations(KEY) == {A, B}


def test_a_line_that_git_annex_has_not_finished_does_not_get_in_the_way(
    repository: Path, blocking: BlockingBranch
) -> None:
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    blocking.log_location(KEY, B, True)
    with file.open("ab") as log:
        log.write(b"1795255250s 1 unfin")
    assert blocking.locations(KEY) == {B}
    assert blocking.log_location(KEY, A, True)
    assert blocking.locations(KEY) == {A, B}
    assert b"unfin" not in file.read_bytes()


def test_an_incomplete_last_line_does_not_count(repository: Path, blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    with file.open("ab") as journal:
        journal.write(b"9999999999s 0 " + A.encode()[:-1])
    assert blocking.locations(KEY) == {A}
    blocking.log_location(KEY, B, True)
    assert blocking.locations(KEY) == {A, B}


def test_keys_too_long_for_the_journal(blocking: BlockingBranch) -> None:
    with pytest.raises(RemoteError, match="too long"):
        blocking.log_location(Key("SHA256--" + "x" * 300), A, True)
    assert os.listdir(blocking.journal.annex + b"/p2pannex") == []


def test_files_of_a_shared_repository(repository: Path) -> None:
    old = os.umask(0o077)
    try:
        with contextlib.closing(BlockingBranch(repository, shared_mode=0o660)) as branch:
            branch.log_location(KEY, A, True)
    finally:
        os.umask(old)
    assert (repository / "annex/journal.lck").stat().st_mode & 0o777 == 0o660
    assert (repository / "annex/journal").stat().st_mode & 0o777 == 0o770
    [file] = (repository / "annex/journal").iterdir()
    assert file.stat().st_mode & 0o777 == 0o660


def test_locks_exclude_within_the_process(repository: Path) -> None:
    """They are of the open file: a second Branch on the same repository waits, and closing files drops nothing."""
    with contextlib.closing(BlockingBranch(repository)) as one, contextlib.closing(BlockingBranch(repository)) as two:
        with one.journal.lock():
            thread = threading.Thread(target=two.log_location, args=(KEY, A, True))
            thread.start()
            with open(repository / "annex/journal.lck"):
                pass
            thread.join(0.1)
            assert thread.is_alive()
            assert two.locations(KEY) == set()
        thread.join()
        assert one.locations(KEY) == {A}


# Disks that take less than they were given, and that refuse --------------------------------------------------------


def test_a_file_is_written_whole_though_the_kernel_cuts_writes_short(
    blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    with blocking.journal.lock():
        monkeypatch.setattr(os, "write", lambda fd, text: real_write(fd, text[:10]))
        blocking.journal.write(b"uuid.log", b"a line that is longer than ten bytes\n")
    assert blocking.read(b"uuid.log") == b"a line that is longer than ten bytes\n"


def test_a_line_that_was_appended_in_part_is_an_error_and_does_not_count(
    blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking.log_location(KEY, A, True)
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, text: real_write(fd, text[:10]))
        with pytest.raises(RemoteError, match="disk is full"):
            blocking.log_location(KEY, B, True)
    assert blocking.locations(KEY) == {A}
    assert blocking.log_location(KEY, B, True)
    assert blocking.locations(KEY) == {A, B}


def test_readers_find_the_old_file_or_the_new_one(repository: Path, blocking: BlockingBranch) -> None:
    """They take no lock."""
    blocking.change(b"uuid.log", lambda _: b"old\n")
    with (repository / "annex/journal/uuid.log").open() as reader:
        blocking.change(b"uuid.log", lambda _: b"new\n")
        assert reader.read() == "old\n"
    assert blocking.read(b"uuid.log") == b"new\n"


@pytest.mark.parametrize(
    ("available", "inodes", "available_inodes", "room", "writable"),
    [(10, 100, 50, 1000, True), (10, 100, 50, 1001, False), (10, 100, 0, 1, False), (10, 0, 0, 1000, True)],
)
def test_room_for_the_log(
    blocking: BlockingBranch,
    monkeypatch: pytest.MonkeyPatch,
    available: int,
    inodes: int,
    available_inodes: int,
    room: int,
    writable: bool,
) -> None:
    """File systems without a fixed number of inodes report 0 of 0."""
    fields = [100, 100, 1000, 500, available, inodes, available_inodes, available_inodes, 0, 255]
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    blocking.require_writable(KEY, room=0)
    with contextlib.nullcontext() if writable else pytest.raises(RemoteError, match="disk is full"):
        blocking.require_writable(KEY, room=room)


def test_a_lock_file_that_cannot_be_opened(
    repository: Path, blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another user's, who does not share the repository."""
    blocking.log_location(KEY, A, True)
    real_access = os.access
    lock = os.fsencode(repository / "annex/journal.lck")
    monkeypatch.setattr(os, "access", lambda path, mode: path != lock and real_access(path, mode))
    with pytest.raises(RemoteError, match="permission denied"):
        blocking.require_writable(KEY)


@pytest.mark.parametrize("made", ["annex/journal", "annex/journal.lck"])
def test_another_process_makes_a_file_between_two_looks(
    repository: Path, blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    blocking.log_location(KEY, A, True)
    path = repository / made
    hidden = path.rename(repository / "hidden")
    real_lexists = os.path.lexists

    def appears(looked_at: bytes) -> bool:
        if looked_at == os.fsencode(path) and hidden.exists():
            hidden.rename(path)
        return real_lexists(looked_at)

    monkeypatch.setattr(os.path, "lexists", appears)
    blocking.require_writable(KEY)
    assert path.exists()


def test_threads_that_share_a_journal_exclude_each_other(blocking: BlockingBranch) -> None:
    with blocking.journal.lock(), pytest.raises(RemoteError, match="busy"), blocking.journal.lock(0.01):
        pass
    threads = [threading.Thread(target=blocking.log_location, args=(KEY, f"uuid-{n}", True)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blocking.locations(KEY)) == 8
