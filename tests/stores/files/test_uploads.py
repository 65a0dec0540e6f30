"""Uploads into files: they resume, they verify, and a crash at any moment loses nothing."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.file_locks import KernelLocks
from p2pannex.testing.samples import key_of
from tests.stores.directories import files_below, upload_all
from tests.support.failing_calls import failing_at

# Uploads --------------------------------------------------------------------------------------------------------


async def test_partial_is_resumed_by_another_process(directory: Path) -> None:
    content = os.urandom(3_000_000)
    key = key_of(content)
    upload = await DirectoryStore(directory).put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content)[:2_000_000])
    again = DirectoryStore(directory)
    assert not await again.check_present(key)
    upload = await again.put(key)
    assert isinstance(upload, Upload)
    assert upload.offset == 2_000_000
    await upload.aclose()
    assert await upload_all(again, key, content) == Stored()
    assert await again.check_present(key)


async def test_wrong_content_is_neither_stored_nor_resumed_from(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"right")
    assert await upload_all(store, key, b"wrong") == NotStored()
    assert not await store.check_present(key)
    assert files_below(directory / "annex" / "tmp") == set()
    assert await upload_all(store, key, b"right", valid=False) == Stored(), "INVALID, yet it verifies"


async def test_a_partial_that_was_damaged_is_found_out_and_dropped(directory: Path) -> None:
    content = os.urandom(500_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content)[:300_000])
    partial = Path(os.fsdecode(store.layout.partial(key)))
    partial.write_bytes(bytes(300_000))
    assert await upload_all(store, key, content) == NotStored()
    assert await upload_all(store, key, content) == Stored()


async def test_a_partial_longer_than_its_key_begins_anew(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"short")
    Path(os.fsdecode(store.layout.partial(key))).write_bytes(b"much too long")
    assert await upload_all(store, key, b"short") == Stored()


async def test_more_than_is_left_of_the_key_is_refused(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    async with await store.put(key) as upload:  # type: ignore[union-attr]
        await upload.begin(7)
        await upload.send_all(memoryview(b"con"))
    async with await store.put(key) as upload:  # type: ignore[union-attr]
        assert upload.offset == 3
        with pytest.raises(RemoteError, match="10 bytes announced for a key of 7"):
            await upload.begin(7)


async def test_more_than_the_key_holds_is_refused_before_a_byte_is_written(directory: Path) -> None:
    upload = await DirectoryStore(directory).put(key_of(b"12345"))
    assert isinstance(upload, Upload)
    async with upload:
        with pytest.raises(RemoteError, match="6 bytes announced for a key of 5"):
            await upload.begin(6)


@pytest.mark.parametrize("failing", ["file", "directory"])
async def test_what_fsync_could_not_write_is_not_trusted(
    directory: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}") == (failing == "directory"):
            raise OSError(errno.EIO, "input/output error")
        real_fsync(fd)

    store = DirectoryStore(directory)
    key = key_of(b"content")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(RemoteError, match="cannot store the content: the disk reports"):
            await upload_all(store, key, b"content")
    assert not await store.check_present(key)
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    assert upload.offset == 0
    await upload.aclose()


# Crashes, several processes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "at_least"), [("put", 15), ("remove", 5), ("lock", 10)])
@pytest.mark.parametrize("kind", ["directory", "repository"])
def test_kill_9_at_every_system_call(memory: Path, kind: str, operation: str, at_least: int) -> None:
    program = Path(__file__).parent / "crash_points.py"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(program), kind, operation, str(memory)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= at_least


async def test_a_file_size_limit_in_the_middle_loses_nothing(directory: Path) -> None:
    content = os.urandom(400_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(RemoteError, match="cannot store the content: the content is larger than a file may be"):
            await upload_all(store, key, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await upload_all(store, key, content) == Stored()


SIZELESS = Key(b"SHA256--" + key_of(b"content").raw.partition(b"--")[2])


async def test_disk_reserve_for_a_key_without_a_size(tmp_path: Path) -> None:
    """DATA says how much room is needed."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    DirectoryStore.create(tmp_path / "store", disk_reserve=free * 2)
    upload = await DirectoryStore(tmp_path / "store").put(SIZELESS)
    assert isinstance(upload, Upload)
    async with upload:
        with pytest.raises(RemoteError, match="not enough disk space: 7 bytes to store, 0 free"):
            await upload.begin(7)


@pytest.mark.parametrize("size", [1000, 300_000])
async def test_a_disk_that_fills_up_names_the_missing_bytes(directory: Path, size: int) -> None:
    store = DirectoryStore(directory)
    upload = await store.put(key_of(bytes(3 * size)))
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(3 * size)
        await upload.send_all(memoryview(bytes(size)))
        with (
            failing_at(1, errno.ENOSPC, os.fsencode(directory)),
            pytest.raises(RemoteError, match=f"the disk is full; free {2 * size} more bytes"),
        ):
            await upload.send_all(memoryview(bytes(size)))


# What else may be at the partial's path -------------------------------------------------------------------------


async def test_a_partial_is_not_a_symbolic_link(directory: Path, tmp_path: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    (tmp_path / "thesis.tex").write_text("")
    Path(os.fsdecode(store.layout.partial(key))).symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(RemoteError, match="cannot begin to store"):
        await upload_all(store, key, b"content")
    assert (tmp_path / "thesis.tex").read_text() == ""


@pytest.mark.parametrize("made_anew", [False, True])
async def test_a_partial_that_was_moved_before_it_was_locked_is_not_written_to(
    directory: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    """It has become an object, or was removed, between opening it and locking it."""
    store = DirectoryStore(directory)
    key = key_of(b"content")
    partial = Path(os.fsdecode(store.layout.partial(key)))
    partial.write_bytes(b"cont")
    real = KernelLocks.try_lock

    def late(fd: int, *, shared: bool = False) -> bool:
        monkeypatch.undo()
        partial.rename(directory / "moved")
        if made_anew:
            partial.write_bytes(b"co")
        return real(fd, shared=shared)

    monkeypatch.setattr(KernelLocks, "try_lock", staticmethod(late))
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        assert upload.offset == (2 if made_anew else 0)
        await upload.begin(7 - upload.offset)
        await upload.send_all(memoryview(b"content")[upload.offset :])
        assert await upload.finish(True) == Stored()
    assert (directory / "moved").read_bytes() == b"cont"


async def test_closing_an_upload_removes_no_file_of_others(directory: Path) -> None:
    store = DirectoryStore(directory)
    key = key_of(b"content")
    partial = Path(os.fsdecode(store.layout.partial(key)))
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        partial.unlink()
        partial.write_bytes(b"of another upload")
    assert partial.read_bytes() == b"of another upload"


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_write_that_the_kernel_cuts_short_goes_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    content = os.urandom(300_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    if resumed:
        Path(os.fsdecode(store.layout.partial(key))).write_bytes(content[:100_000])
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: real_write(fd, view[:1000]))
    assert await upload_all(store, key, content) == Stored()
    assert Path(os.fsdecode(store.layout.find(key))).read_bytes() == content


async def test_an_error_of_a_write_is_reported_while_an_earlier_part_is_hashed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(300_000)
    key = key_of(content)
    store = DirectoryStore(directory)
    Path(os.fsdecode(store.layout.partial(key))).write_bytes(content[:100_000])

    def broken(fd: int, view: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(200_000)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", broken)
            with pytest.raises(RemoteError, match="input/output"):
                await upload.send_all(memoryview(content)[100_000:])
    assert not await store.check_present(key)


async def test_without_a_digest_what_the_sender_calls_invalid_is_not_stored(directory: Path) -> None:
    """Nothing else could tell, although the size is right. The bytes are not resumed from."""
    store = DirectoryStore(directory)
    key = Key(b"WORM-s7-m1--name")
    assert await upload_all(store, key, b"content", valid=False) == NotStored()
    assert not await store.check_present(key)
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        assert upload.offset == 0
