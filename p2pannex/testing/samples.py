"""Content for tests, and functions that store and fetch it."""

from __future__ import annotations

import hashlib
import random

import trio

from p2pannex.errors import RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Service, Stored, Upload

PUT_ATTEMPTS = 200
"""How many times `begin_upload` requests an upload, 10 ms apart, from a service that may not have noticed yet that the
last upload of the key has stopped."""


def key_of(content: bytes, backend: str = "SHA256") -> Key:
    """The key of some content. `backend` is the name of a hash in hashlib."""
    return Key.make(backend, hashlib.new(backend.lower(), content).hexdigest(), size=len(content))


def sample(size: int, seed: int = 0) -> bytes:
    """Content of `size` bytes, always the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - not a secret


async def begin_upload(service: Service, key: Key) -> Upload | AlreadyHave:
    """`Service.put`, tried again while the service has not noticed yet that an earlier upload has stopped."""
    for _ in range(PUT_ATTEMPTS):
        try:
            return await service.put(key)
        except Unsupported:
            raise
        except RemoteError:
            await trio.sleep(0.01)
    return await service.put(key)


async def send_pieces(upload: Upload, content: bytes, piece: int = 1 << 20) -> None:
    """`Upload.send_all` in pieces, all from the same block of memory, which is overwritten after each call."""
    block = bytearray(min(piece, len(content)))
    for start in range(0, len(content), piece):
        part = content[start : start + piece]
        block[: len(part)] = part
        await upload.send_all(memoryview(block)[: len(part)])
        block[:] = bytes(len(block))


async def store(service: Service, content: bytes, key: Key | None = None, *, piece: int = 1 << 20) -> Key:
    """Store content, from the offset that the service requests. AssertionError if it is not stored."""
    key = key or key_of(content)
    outcome = await offer(service, content, key, piece=piece)
    assert isinstance(outcome, Stored | AlreadyHave), f"valid content of {key} was not stored: {outcome}"
    return key


async def offer(
    service: Service, content: bytes, key: Key, *, piece: int = 1 << 20
) -> Stored | NotStored | AlreadyHave:
    """Upload content for a key, valid or not. Returns the outcome."""
    upload = await begin_upload(service, key)
    if isinstance(upload, AlreadyHave):
        return upload
    async with upload:
        assert 0 <= upload.offset <= len(content), f"the offset is {upload.offset}, of {len(content)} bytes"
        rest = content[upload.offset :]
        await upload.begin(len(rest))
        await send_pieces(upload, rest, piece)
        return await upload.finish(True)


async def fetch(service: Service, key: Key, offset: int = 0, *, piece: int = 1 << 20) -> bytes | None:
    """The content from `offset` on, read in pieces; None if the service reports it as not valid."""
    async with await service.get(key, offset=offset) as download:
        block = bytearray(piece)
        content = bytearray()
        while count := await download.readinto(memoryview(block)):
            content += block[:count]
        assert len(content) == download.length, f"{download.length} bytes announced, {len(content)} received"
        valid = await download.valid()
        await download.finish(True)
    return bytes(content) if valid else None
