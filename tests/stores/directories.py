"""Directory stores, and uploads into them."""

from __future__ import annotations

from pathlib import Path

from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore


async def upload_all(store: DirectoryStore, key: Key, content: bytes, *, valid: bool = True) -> Stored | NotStored:
    upload = await store.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        await upload.begin(len(content) - upload.offset)
        await upload.send_all(memoryview(content)[upload.offset :])
        return await upload.finish(valid)


def files_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
