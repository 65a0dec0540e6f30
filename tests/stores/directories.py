"""Directory stores, and uploads into them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import define

from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore


def key_of(content: bytes, backend: str = "SHA256") -> Key:
    return Key.make(backend, hashlib.sha256(content).hexdigest().encode(), size=len(content))


async def upload_all(store: DirectoryStore, key: Key, content: bytes, *, valid: bool = True) -> Stored | NotStored:
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content) - upload.offset)
        await upload.send_all(memoryview(content)[upload.offset :])
        return await upload.finish(valid)


def files_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


@define
class SkewedClock:
    """Both clocks, for a test to set."""

    monotonic_now: float = 1000.0
    wall_now: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.monotonic_now

    def wall(self) -> float:
        return self.wall_now
