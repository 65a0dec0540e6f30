"""What a received file leaves on the disk: when it is durable, and which other files it touches."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import p2pannex.transfer.receiving_file as files
from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.memory import MemoryStore
from p2pannex.system.file_locks import NoFileLocks, try_lock
from p2pannex.testing.samples import key_of
from p2pannex.transfer.receiving_file import ReceivingFile, partial_path
from p2pannex.transfer.sending_file import SendingFile
from p2pannex.transfer.transfer import retrieve
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, partials

KEY = key_of(SMALL_CONTENT)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the disk, in order, to make a file and its name durable."""
    steps: list[str] = []

    def watch(name: str, original: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            steps.append(name)
            return original(*args, **named)

        return call

    for name in ("file_durable", "directory_durable"):
        monkeypatch.setattr(files, name, watch(name, getattr(files, name)))
    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, watch(name, getattr(os, name)))
    return steps


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.contents[KEY] = SMALL_CONTENT
    return store


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("durable", [False, True, None])
async def test_the_content_is_on_disk_before_its_name_and_the_name_at_the_end(
    tmp_path: Path, store: MemoryStore, done: list[str], durable: bool | None, overwrite: bool
) -> None:
    """`durable` None: as it is if the caller says nothing."""
    if durable is None:
        await retrieve(store, KEY, tmp_path / "f", overwrite=overwrite)
    else:
        await retrieve(store, KEY, tmp_path / "f", overwrite=overwrite, durable=durable)
    name = "replace" if overwrite else "link"
    assert done == ([name] if durable is False else ["file_durable", name, "directory_durable"])


async def test_nothing_is_received_for_a_file_that_is_there(tmp_path: Path, store: MemoryStore) -> None:
    async def get(*args: object, **named: object) -> Any:
        raise AssertionError("there was no need to")

    (tmp_path / "f").write_bytes(b"precious")
    store.get = get  # type: ignore[method-assign]
    with pytest.raises(FileExistsError):
        await retrieve(store, KEY, tmp_path / "f")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
async def test_without_hard_links_a_file_that_is_there_is_not_replaced_either(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def link(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    await retrieve(store, KEY, tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == SMALL_CONTENT
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        await receiving.send_all(memoryview(SMALL_CONTENT))
        (tmp_path / "f").write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            await receiving.commit()
    assert (tmp_path / "f").read_bytes() == b"precious"


async def test_a_partial_that_another_process_renames_before_it_is_locked_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its locking, the process that had the lock has given it its name."""
    partial = Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), KEY)))
    partial.write_bytes(b"of the other")

    def rename_first(fd: int) -> bool:
        if partial.exists() and partial.stat().st_size:
            partial.rename(tmp_path / "theirs")
        return try_lock(fd)

    monkeypatch.setattr(files, "try_lock", rename_first)
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        assert receiving.reached == 0
        await receiving.send_all(memoryview(SMALL_CONTENT))
        assert (tmp_path / "theirs").read_bytes() == b"of the other"
        assert partial.read_bytes() == SMALL_CONTENT


async def test_a_partial_that_is_locked_is_left_to_its_owner(tmp_path: Path) -> None:
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        await receiving.send_all(memoryview(SMALL_CONTENT[:100]))
        with pytest.raises(RemoteError, match="by another process"):
            await ReceivingFile.open(tmp_path / "f", KEY)
        await receiving.send_all(memoryview(SMALL_CONTENT[100:]))
        assert not receiving.wrong


@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
async def test_a_symbolic_link_is_not_followed(tmp_path: Path, store: MemoryStore, leads: str) -> None:
    """In a directory that others can write to, the partial file's name can be guessed."""
    if leads == "to a file":
        (tmp_path / "mine").write_bytes(b"precious")
    os.symlink(tmp_path / "mine", partial_path(os.fsencode(tmp_path / "f"), KEY))
    with pytest.raises(OSError, match="symbolic links"):
        await retrieve(store, KEY, tmp_path / "f")
    assert (tmp_path / "mine").exists() is (leads == "to a file")
    if leads == "to a file":
        assert (tmp_path / "mine").read_bytes() == b"precious"


def test_long_names_have_partial_files_of_their_own() -> None:
    names = [b"n" * 255, b"n" * 254 + b"m"]
    assert len({partial_path(name, KEY) for name in names}) == 2
    assert all(len(partial_path(name, KEY)) <= 255 for name in names)


async def test_bytes_that_cannot_be_verified_are_not_resumed_from(tmp_path: Path) -> None:
    """The key has neither digest nor size: whatever lies there could be a part of the content."""
    key = Key.parse("WORM-m1--name")
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(b"left of something")
    store = MemoryStore()
    store.contents[key] = SMALL_CONTENT
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_starting_again_leaves_nothing_behind_the_new_end(tmp_path: Path) -> None:
    key = Key.parse("WORM-m1--name")
    with closing(await ReceivingFile.open(tmp_path / "f", key)) as receiving:
        await receiving.send_all(memoryview(LARGE_CONTENT))
        await receiving.restart()
        await receiving.send_all(memoryview(SMALL_CONTENT))
        assert receiving.verifier.received == receiving.reached == len(SMALL_CONTENT)
        await receiving.commit()
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_write_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """The system may write less than it got, and says how much."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: pwrite(fd, view[: len(view) // 2 + 1], at))
    store = MemoryStore()
    store.contents[key := key_of(content)] = content
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == content


async def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the same bytes can be sent again, and none is missing."""
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        await receiving.send_all(memoryview(SMALL_CONTENT[:100]))
        with monkeypatch.context() as patch:

            def full(*args: object) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space"):
                await receiving.send_all(memoryview(SMALL_CONTENT[100:]))
        assert receiving.reached == receiving.verifier.received == 100
        await receiving.send_all(memoryview(SMALL_CONTENT[100:]))
        assert not receiving.wrong


async def test_closing_deletes_only_an_empty_partial_of_its_own(tmp_path: Path) -> None:
    partial = Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), KEY)))
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)):
        assert partial.exists()
    assert not partial.exists()
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)):
        partial.rename(tmp_path / "moved")
        partial.write_bytes(b"of another process")
    assert partial.read_bytes() == b"of another process"
    partial.unlink()
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        await receiving.send_all(memoryview(SMALL_CONTENT[:10]))
    assert partial.read_bytes() == SMALL_CONTENT[:10], "to resume from"


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_partial_of_another_process_does_not_get_the_name(tmp_path: Path, overwrite: bool) -> None:
    """A program that takes no lock, such as rm, removes a partial file; then another process makes it anew."""
    partial = partial_path(os.fsencode(tmp_path / "f"), KEY)
    with closing(await ReceivingFile.open(tmp_path / "f", KEY, overwrite=overwrite)) as receiving:
        os.unlink(partial)
        with closing(await ReceivingFile.open(tmp_path / "f", KEY, overwrite=overwrite)) as other:
            await other.send_all(memoryview(SMALL_CONTENT[:100]))
            await receiving.send_all(memoryview(SMALL_CONTENT))
            with pytest.raises(FileNotFoundError, match="another program removed its partial file"):
                await receiving.commit()
            assert not (tmp_path / "f").exists()
            receiving.discard()
            assert os.stat(partial).st_size == 100, "it is not ours"
            await other.send_all(memoryview(SMALL_CONTENT[100:]))
            await other.commit()
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT
    assert partials(tmp_path) == []


async def test_without_file_locks_a_partial_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would keep two processes from writing to the same one. It is not resumed from."""

    def no_locks(fd: int) -> bool:
        raise NoFileLocks(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)))

    monkeypatch.setattr(files, "try_lock", no_locks)
    with (
        closing(await ReceivingFile.open(tmp_path / "f", KEY)) as one,
        closing(await ReceivingFile.open(tmp_path / "f", KEY)) as other,
    ):
        assert one.partial != other.partial
        await other.send_all(memoryview(SMALL_CONTENT[:10]))
        await one.send_all(memoryview(SMALL_CONTENT))
        await one.commit()
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT
    assert partials(tmp_path) == []


def edited_in_place(path: Path) -> None:
    path.write_bytes(b"other bytes, as many")


def grown_with_its_time_set_back(path: Path) -> None:
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_one_that_looks_the_same(path: Path) -> None:
    before = path.stat()
    new = path.with_suffix(".new")
    new.write_bytes(b"x" * before.st_size)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize(
    "change", [edited_in_place, grown_with_its_time_set_back, replaced_by_one_that_looks_the_same, Path.unlink]
)
def test_a_file_that_changed_while_it_was_sent(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"twenty bytes of this")
    os.utime(path, ns=(10**18, 10**18))
    with closing(SendingFile(path)) as sending:
        assert sending.unchanged()
        change(path)
        assert not sending.unchanged()


async def test_a_file_that_has_become_shorter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"twenty bytes of this")
    with closing(SendingFile(path)) as sending:
        os.truncate(path, 3)
        view = memoryview(bytearray(100))
        assert await sending.readinto(view) == 3
        with pytest.raises(RemoteError, match="became shorter"):
            await sending.readinto(view)


@pytest.mark.parametrize("left", [SMALL_CONTENT + b"?", b"z" * len(SMALL_CONTENT), b""], ids=len)
async def test_a_partial_that_cannot_be_right_is_started_again_before_any_request(tmp_path: Path, left: bytes) -> None:
    """It is complete and wrong, or has more bytes than the content."""
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), KEY))).write_bytes(left)
    with closing(await ReceivingFile.open(tmp_path / "f", KEY)) as receiving:
        assert receiving.reached == receiving.verifier.received == 0
