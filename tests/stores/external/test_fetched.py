"""A program that reports success, but has left something else than the content."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p import client_watch
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.server import serve
from p2pannex.protocol import messages as m
from p2pannex.service import Service, Upload
from p2pannex.stores.external.fetched import open_verified
from p2pannex.stores.external.spool import STALE, Spool
from p2pannex.stores.external.store import ExternalStore
from p2pannex.testing.pair import peer_pair
from p2pannex.testing.samples import fetch, sample, store
from tests.stores.external.special_remote import Remote

KINDS = {
    "directory": "left a directory",
    "full-directory": "left a directory",
    "fifo": "left a FIFO",
    "link": "left a symbolic link",
    "dangling": "left a symbolic link",
    "socket": "left a socket",
    "device": "left a device",
    "wrong": "its hash is not the one in the key",
}


def left(remote: Remote) -> list[Path]:
    return list((remote.path / "spool" / "down").iterdir())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0, 5])
async def test_it_is_an_error_and_no_more(remote: Remote, kind: str, offset: int) -> None:
    if kind == "device" and os.geteuid():
        pytest.skip("only root can make a device")
    content = sample(100_000)
    async with remote.open() as external:
        key = await store(external, content)
        remote.trouble("TRANSFER", f"leave-{kind}-only")
        with pytest.raises(RemoteError, match=KINDS[kind]):
            await external.get(key, offset=offset)
        assert not left(remote)
        assert await fetch(external, key, offset) == content[offset:]
        assert not left(remote)
        assert remote.prepared == 1, "the program itself works"


async def test_without_a_hash_only_the_size_can_be_verified(remote: Remote) -> None:
    async with remote.open() as external:
        key = Key.parse(b"WORM-s10-m1--x")
        await store_as(external, key, b"0123456789")
        remote.trouble("TRANSFER", "leave-wrong-only")
        assert await fetch(external, key) == b"0123446789"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    """Opening it does not block, whatever a program had left there."""
    Spool(tmp_path)
    down = tmp_path / "down"
    (down / "directory" / "sub").mkdir(parents=True)
    os.mkfifo(down / "fifo")
    os.symlink("/nowhere", down / "link")
    (down / "file").write_bytes(b"x")
    old = time.time() - STALE - 10
    for path in down.iterdir():
        os.utime(path, (old, old), follow_symlinks=False)
    (down / "new").write_bytes(b"x")
    Spool(tmp_path)
    assert [path.name for path in down.iterdir()] == ["new"]


@pytest.mark.parametrize("how", ["hang", "repeat", "exceed"])
@pytest.mark.parametrize("direction", ["STORE", "RETRIEVE"])
async def test_a_transfer_that_does_not_advance_ends(remote: Remote, how: str, direction: str) -> None:
    """PROGRESS that repeats a number, or that exceeds the content, is no progress."""
    async with remote.open(timeout=1.5) as external:
        key = await store(external, b"0123456789")
        other = Key.parse(b"WORM-s3-m1--y")
        remote.trouble("TRANSFER", how, always=True)
        started = trio.current_time()
        with pytest.raises(RemoteError, match="took longer than"):
            await (store_as(external, other, b"abc") if direction == "STORE" else external.get(key))
        assert trio.current_time() - started < 10


async def store_as(external: ExternalStore, key: Key, content: bytes) -> None:
    upload = await external.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content))
        await upload.finish(True)


async def quietly_serve(peer: Peer, service: Service) -> None:
    with contextlib.suppress(ConnectionLost):
        await serve(peer, service)


async def test_the_program_is_stopped_when_the_client_has_left(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_watch, "INTERVAL", 0.05)
    hangs = remote.path / "trouble" / "TRANSFER"
    async with remote.open(timeout=1000) as external:
        key = await store(external, b"0123456789")
        remote.trouble("TRANSFER", "hang")
        with trio.fail_after(50):
            client_end, server_end = peer_pair("pipe")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(quietly_serve, server_end, external)
                await client_end.receive()
                await client_end.send(m.Get(0, None, key))
                while hangs.exists():  # noqa: ASYNC110 - the program takes it away
                    await trio.sleep(0.02)
                await client_end.aclose()
            assert not left(remote)
            assert await fetch(external, key) == b"0123456789"


@pytest.mark.parametrize("length", [3, 5])
async def test_without_a_digest_the_size_is_compared(tmp_path: Path, length: int) -> None:
    key = Key.parse("WORM-s4-m1--name")
    (tmp_path / "file").write_bytes(bytes(length))
    with pytest.raises(RemoteError, match=f"damaged content: {length} bytes instead of 4"):
        await open_verified(os.fsencode(tmp_path / "file"), key, "cloud")
    (tmp_path / "file").write_bytes(bytes(4))
    os.close(await open_verified(os.fsencode(tmp_path / "file"), key, "cloud"))
