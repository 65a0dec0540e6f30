"""Sending files to services: it resumes, and only what the key says is stored."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Stored
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.transfer import NotStoredError, Transferred, WrongContent, send
from tests.transfer.services import LARGE_CONTENT, SMALL_CONTENT, WHOLE, Refusing, Watched, remote_to


@pytest.mark.parametrize("content", [b"", b"x", SMALL_CONTENT, LARGE_CONTENT], ids=len)
@pytest.mark.parametrize("version", range(5))
async def test_send(tmp_path: Path, content: bytes, version: int) -> None:
    store = MemoryStore()
    key = key_of(content)
    (tmp_path / "f").write_bytes(content)
    progress = Watched()
    async with remote_to(store, version=version) as remote:
        assert await send(remote, key, tmp_path / "f", progress=progress) == Stored()
        assert await send(remote, key, tmp_path / "f") == AlreadyHave()
    assert store.contents[key] == content
    assert progress.reports[-1] == Transferred(0, len(content), len(content))


@pytest.mark.parametrize("cut", [*range(0, 600, 11)])
async def test_send_through_a_connection_cut_at_every_byte(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    async with remote_to(store, [(None, cut)]) as remote:
        try:
            outcome = await send(remote, key, tmp_path / "f")
        except ConnectionLost:
            assert key not in store.contents
            outcome = await send(remote, key, tmp_path / "f")
    assert outcome == Stored()
    assert store.contents[key] == SMALL_CONTENT


@pytest.mark.parametrize("cut", [70_000, 1_000_000, 4_999_999])
async def test_send_goes_on_where_the_connection_was_lost(tmp_path: Path, cut: int) -> None:
    store = MemoryStore()
    key = key_of(LARGE_CONTENT)
    (tmp_path / "f").write_bytes(LARGE_CONTENT)
    async with remote_to(store, [(None, cut)]) as remote:
        with pytest.raises(ConnectionLost):
            await send(remote, key, tmp_path / "f", attempts=1)
        with trio.fail_after(50):
            while key in store._uploading:  # noqa: ASYNC110 - the server is still reading what was under way
                await trio.sleep(0.01)
        left = len(store.partials[key])
        progress = Watched()
        assert await send(remote, key, tmp_path / "f", progress=progress) == Stored()
    assert cut - 200 <= left <= cut
    assert progress.reports[0] == Transferred(left, len(LARGE_CONTENT), left)
    assert store.contents[key] == LARGE_CONTENT


async def test_the_answer_lost_after_the_last_byte_is_asked_for_again(tmp_path: Path) -> None:
    store = MemoryStore()
    key = key_of(SMALL_CONTENT)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    greeting = len(f"AUTH-SUCCESS {store.uuid}\nVERSION 4\nPUT-FROM 0\n")
    async with remote_to(store, [(greeting, None)]) as remote:
        assert await send(remote, key, tmp_path / "f") in (Stored(), AlreadyHave())
    assert store.contents[key] == SMALL_CONTENT


async def test_a_file_of_another_size_is_not_sent(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "f").write_bytes(SMALL_CONTENT[1:])
    with pytest.raises(WrongContent, match="299 bytes"):
        await send(store, key_of(SMALL_CONTENT), tmp_path / "f")
    assert not store.partials


async def test_a_file_of_wrong_content_is_not_stored(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "f").write_bytes(SMALL_CONTENT[::-1])
    with pytest.raises(NotStoredError, match="is not its content") as caught:
        await send(store, key_of(SMALL_CONTENT), tmp_path / "f")
    assert isinstance(caught.value, WrongContent)


@pytest.mark.parametrize("content", [b"", SMALL_CONTENT, LARGE_CONTENT], ids=len)
async def test_a_service_that_does_not_store_the_content_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A caller that ignores what `send` returns must not delete its file. The error names those that did store it."""
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(NotStoredError, match=r"did not store .*one-uuid, other-uuid") as caught:
        await send(Refusing(frozenset({"other-uuid", "one-uuid"})), key_of(content), tmp_path / "f")
    assert not isinstance(caught.value, WrongContent)
    assert caught.value.uuids == {"one-uuid", "other-uuid"}


@pytest.mark.parametrize("change", ["touch", "replace", "delete"])
async def test_a_file_that_changes_is_called_invalid(tmp_path: Path, change: str) -> None:
    store = MemoryStore()
    worm = Key.make("WORM", "f", size=300, mtime=1)
    path = tmp_path / "f"
    path.write_bytes(SMALL_CONTENT)
    os.utime(path, (1, 1))

    def meddle(now: Transferred) -> None:
        if change == "touch":
            os.utime(path, (2, 2))
        elif change == "replace":
            (tmp_path / "g").write_bytes(SMALL_CONTENT)
            os.utime(tmp_path / "g", (1, 1))
            os.replace(tmp_path / "g", path)
        else:
            path.unlink(missing_ok=True)

    with pytest.raises(NotStoredError, match="changed while it was sent") as caught:
        await send(store, worm, path, progress=meddle)
    assert isinstance(caught.value, WrongContent)
    assert worm not in store.contents


async def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "f"
    path.write_bytes(LARGE_CONTENT)
    async with remote_to(store) as remote:
        with pytest.raises(WrongContent, match="became shorter"):
            await send(remote, key_of(LARGE_CONTENT), path, progress=lambda now: os.truncate(path, 10))
    assert not store.contents


async def test_a_service_that_kept_more_than_the_file_has(tmp_path: Path) -> None:
    """The connection is still good after it: nothing was left in the middle."""
    store = MemoryStore()
    key = Key.make("SHA256", hashlib.sha256(SMALL_CONTENT).hexdigest())
    store.partials[key] = bytearray(301)
    (tmp_path / "f").write_bytes(SMALL_CONTENT)
    async with remote_to(store, [WHOLE, (0, 0)]) as remote:
        with pytest.raises(WrongContent, match="kept 301 bytes"):
            await send(remote, key, tmp_path / "f")
        assert not await remote.check_present(key)


async def test_what_is_not_a_regular_file_is_not_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match="not a regular file"):
            await send(MemoryStore(), key_of(b""), path)


async def test_what_a_service_kept_too_much_does_not_become_the_content(tmp_path: Path) -> None:
    """The key does not tell the size. Only INVALID keeps the service from storing what it has."""
    service, key = MemoryStore(), Key.parse("WORM-m1--name")
    service.partials[key] = bytearray(b"more than the file has")
    (tmp_path / "f").write_bytes(b"file")
    with pytest.raises(WrongContent, match="kept 22 bytes"):
        await send(service, key, tmp_path / "f")
    assert service.contents == {}
