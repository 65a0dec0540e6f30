"""The files that content is received into, and their partials."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.receiving_file import partial_path
from p2pannex.transfer.transfer import Transferred, retrieve
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, Watched, partials, remote_to


@pytest.mark.parametrize("left", [b"z" * 100, b"z" * len(SMALL_CONTENT), b"z" * 999], ids=len)
async def test_a_spoiled_partial_is_received_anew(tmp_path: Path, left: bytes) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(left)
    async with remote_to(store) as remote:
        await retrieve(remote, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT
    assert os.listdir(tmp_path) == ["f"]


async def test_a_whole_partial_needs_no_repository(tmp_path: Path) -> None:
    key = key_of(SMALL_CONTENT)
    Path(os.fsdecode(partial_path(os.fsencode(tmp_path / "f"), key))).write_bytes(SMALL_CONTENT)
    await retrieve(MemoryStore(), key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_a_partial_of_another_key_is_not_gone_on_with(tmp_path: Path) -> None:
    """Nothing could find it out later: WORM keys have no digest."""
    one, other = (Key.make("WORM", name, size=3_000_000, mtime=1) for name in ("one", "other"))
    store = MemoryStore()
    store.contents = {one: b"1" * 3_000_000, other: b"2" * 3_000_000}
    async with remote_to(store, [(2_000_000, None)]) as remote:
        with pytest.raises(ConnectionLost):
            await retrieve(remote, one, tmp_path / "f", attempts=1)
    assert len(partials(tmp_path)) == 1
    await retrieve(store, other, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"2" * 3_000_000


async def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    (tmp_path / "f").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"precious"
    await retrieve(store, key, tmp_path / "f", overwrite=True)
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT

    def appear(now: Transferred) -> None:
        (tmp_path / "f").write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        await retrieve(store, key, tmp_path / "f", progress=appear)
    assert (tmp_path / "f").read_bytes() == b"precious"
    assert partials(tmp_path)[0].read_bytes() == SMALL_CONTENT


async def test_two_at_once_do_not_write_into_each_other_s_partial(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    store.contents[key] = LARGE_CONTENT
    outcomes: list[object] = []

    async def run() -> None:
        try:
            await retrieve(store, key, tmp_path / "f")
            outcomes.append("done")
        except (RemoteError, FileExistsError) as error:
            outcomes.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", RemoteError, FileExistsError}
    assert (tmp_path / "f").read_bytes() == LARGE_CONTENT
    assert os.listdir(tmp_path) == ["f"]


async def test_a_partial_with_a_second_name_is_left_to_its_owner(tmp_path: Path) -> None:
    """A crash between the link and the unlink of a commit leaves the user's file under the partial's name too."""
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    (tmp_path / "mine").write_bytes(b"edited since")
    os.link(tmp_path / "mine", partial_path(os.fsencode(tmp_path / "f"), key))
    await retrieve(store, key, tmp_path / "f")
    assert (tmp_path / "mine").read_bytes() == b"edited since"
    assert (tmp_path / "f").read_bytes() == SMALL_CONTENT


async def test_long_names_and_names_that_are_not_utf_8(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    store.contents[key] = SMALL_CONTENT
    for name in (b"n" * 255, b"\xff\xfe"):
        path = os.path.join(os.fsencode(tmp_path), name)
        await retrieve(store, key, path)
        with open(path, "rb") as file:
            assert file.read() == SMALL_CONTENT


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writing past `limit` fails, much as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("content", [SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_full_disk_names_the_file_and_keeps_what_arrived(tmp_path: Path, content: bytes) -> None:
    store = MemoryStore()
    key = key_of(content)
    store.contents[key] = content
    with pytest.raises(OSError, match=r"f'$") as caught, file_size_limit(len(content) - 20):
        await retrieve(store, key, tmp_path / "f")
    assert caught.value.filename == str(tmp_path / "f")
    assert partials(tmp_path)[0].stat().st_size == len(content) - 20
    progress = Watched()
    await retrieve(store, key, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == content
    assert progress.reports[0].offset == len(content) - 20


async def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await retrieve(MemoryStore(), key_of(b""), tmp_path / "no" / "f")
    assert caught.value.filename == str(tmp_path / "no" / "f")
    with pytest.raises(IsADirectoryError):
        await retrieve(MemoryStore(), key_of(b""), tmp_path, overwrite=True)
