"""Content whose digest cannot be computed here is refused, by every store and by the client, with what to install."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotLocked, Service, Stored
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import offer
from p2pannex.testing.serving import served
from p2pannex.transfer.transfer import retrieve, send

WRONG = b"not the content"

REASONS = {
    "BLAKE3_256": "pip install blake3",
    "BLAKE3_256E": "pip install blake3",
    "XXH3": "pip install xxhash",
    "XXH3E": "pip install xxhash",
    "SKEIN256": "cannot compute SKEIN256",
    "SKEIN512E": "cannot compute SKEIN512",
    "BLAKE2SP224": "cannot compute BLAKE2SP224",
}
"""Backends of git-annex whose digest cannot be computed, and what the error says of it."""

NO_DIGEST = ["WORM", "URL", "VURL", "GITMANIFEST", "XFOO", "FOO"]
"""Backends whose content git-annex stores if its size is right (tests/compat/test_keys_compat.py)."""


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    monkeypatch.setitem(sys.modules, "xxhash", None)


@pytest.fixture(params=["directory", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Service]:
    if request.param == "memory":
        return MemoryStore
    return lambda: DirectoryStore.create(tmp_path / "store")


def key(backend: str, fields: str = f"-s{len(WRONG)}") -> Key:
    return Key.parse(f"{backend}{fields}--{'0' * 64}")


@pytest.mark.parametrize("fields", ["", f"-s{len(WRONG)}", f"-s{len(WRONG)}-S4-C1"])
@pytest.mark.parametrize(("backend", "reason"), REASONS.items())
async def test_put_is_refused(make: Callable[[], Service], backend: str, reason: str, fields: str) -> None:
    wanted = key(backend, fields)
    async with make() as store, served(store) as remote:
        with pytest.raises(RemoteError, match=reason):
            await remote.put(wanted)
        assert not await remote.check_present(wanted)
        with pytest.raises(NotLocked):
            await remote.lock(wanted)
        assert not isinstance(await offer(remote, WRONG, key("WORM")), AlreadyHave)  # the connection still works


@pytest.mark.parametrize("backend", NO_DIGEST)
async def test_keys_without_a_digest_are_stored(make: Callable[[], Service], backend: str) -> None:
    async with make() as store:
        assert await offer(store, WRONG, key(backend)) == Stored()
        assert await store.check_present(key(backend))


@pytest.mark.parametrize(("backend", "reason"), REASONS.items())
async def test_the_spool_of_a_special_remote_refuses(tmp_path: Path, backend: str, reason: str) -> None:
    async def never(*_: object) -> Stored:
        raise AssertionError("nothing is delivered")

    async def absent() -> bool:
        return False

    with pytest.raises(RemoteError, match=reason):
        await Spool(tmp_path).upload(key(backend), never, absent)


@pytest.mark.parametrize(("backend", "reason"), REASONS.items())
async def test_transfers_tell_the_reason(tmp_path: Path, backend: str, reason: str) -> None:
    """The server's refusal reaches the sender. A receiver gives no unverified content its name."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(WRONG)
    store = MemoryStore()
    async with served(store) as remote:
        with pytest.raises(RemoteError, match=reason):
            await send(remote, key(backend), source)
        store.contents[key(backend)] = WRONG
        with pytest.raises(RemoteError, match=reason):
            await retrieve(remote, key(backend), target)
    assert list(tmp_path.iterdir()) == [source]


async def test_chunk_keys_are_stored_as_whole_content(make: Callable[[], Service]) -> None:
    """What PUT calls stored, CHECKPRESENT, LOCKCONTENT, ALREADY-HAVE, GET and REMOVE find, with and without sizes."""
    import hashlib

    name = hashlib.sha256(WRONG).hexdigest()
    async with make() as store, served(store) as remote:
        for fields in ("-S4-C1", "-S4", "-C1", f"-s{len(WRONG)}-S4-C1", f"-s{len(WRONG)}-S4-C9", f"-s{len(WRONG)}-C2"):
            chunk = Key.parse(f"SHA256{fields}--{name}")
            for wrong in (WRONG[:4], WRONG[:-1] + b"!"):
                with contextlib.suppress(RemoteError):
                    assert await offer(remote, wrong, chunk) != Stored()
                assert not await remote.check_present(chunk)
            assert await offer(remote, WRONG, chunk) == Stored()
            assert await remote.check_present(chunk)
            assert isinstance(await remote.put(chunk), AlreadyHave)
            async with await remote.get(chunk) as download:
                assert download.length == len(WRONG)
                assert await download.readinto(memoryview(bytearray(100))) == len(WRONG)
                assert await download.valid()
                await download.finish(True)
            async with await remote.lock(chunk):
                pass
            assert (await remote.remove(chunk)).ok
            assert not await remote.check_present(chunk)
