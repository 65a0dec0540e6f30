"""Every number that a server sends is checked against what the key says, before anything rests on it."""

from __future__ import annotations

import hashlib

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.errors import RemoteError, WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Service, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, sample, send_pieces
from p2pannex.testing.serving import served
from p2pannex.transfer.transfer import retrieve

CONTENT = {size: sample(size, size) for size in (0, 1, 300, 70_000)}
"""Small content, which a cluster reads whole, and content that it passes on as it comes."""


class _Lie(Download):
    def __init__(self, length: int) -> None:
        self.length = self._left = length

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        count = min(len(view), self._left)
        self._left -= count
        return count

    async def valid(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


class Liar(MemoryStore):
    """Announces `error` bytes more than the content has from the offset on, and calls them valid."""

    error = 0
    kept = 0
    """The byte that an upload is to start from."""

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        assert key.size is not None
        return _Lie(max(0, key.size - offset + self.error))

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        upload = await super().put(key, file)
        assert not isinstance(upload, AlreadyHave)
        if self.kept:
            upload.offset = self.kept
        return upload


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("error", [-70_000, -300, -1, 1, 300, 70_000])
@pytest.mark.parametrize("size", CONTENT)
async def test_another_length_is_never_valid(size: int, error: int, version: int) -> None:
    """A length that cannot be right is an error, and no bytes mean that the content is not there."""
    store = Liar()
    store.error = error
    content = CONTENT[size]
    key = key_of(content)
    for offset in {0, 1, size // 2, size - 1, size} & set(range(size + 1)):
        announced = max(0, size - offset + error)
        async with served(store, version=version) as remote:
            if announced and announced != size - offset:
                with pytest.raises(WrongContent, match=f"announces {offset + announced} bytes"):
                    await fetch(remote, key, offset)
            else:
                assert await fetch(remote, key, offset) == (b"" if announced == size - offset else None)
            assert not await remote.check_present(key)  # whatever was announced, the repository can be used


@pytest.mark.parametrize("through_protocol", [False, True])
@pytest.mark.parametrize("version", [0, 4])
@pytest.mark.parametrize("error", [-70_000, -10, 10, 70_000])
@pytest.mark.parametrize("size", CONTENT)
async def test_a_cluster_goes_on_with_another_node(size: int, error: int, version: int, through_protocol: bool) -> None:
    liar, good = Liar("liar"), MemoryStore("good")
    liar.error = error
    content = CONTENT[size]
    key = key_of(content)
    good.contents[key] = content
    async with served(liar, version=version) as remote:
        source: Service = remote if through_protocol else liar
        async with Cluster("cluster", [Node("liar", source, cost=1), Node("good", good, cost=2)]) as cluster:
            for offset in {0, size // 2, size}:
                assert await fetch(cluster, key, offset) == content[offset:]
                async with await cluster.get(key, offset=offset) as download:
                    assert download.length == size - offset
        async with Cluster("alone", [Node("liar", source)]) as alone:
            if error > 0:
                with pytest.raises(RemoteError, match=f"announces {size + error} bytes|{error + size} where"):
                    await fetch(alone, key)


@pytest.mark.parametrize("version", range(5))
async def test_an_offset_beyond_the_content_is_not_handed_on(version: int) -> None:
    liar = Liar()
    liar.kept = 301
    key = key_of(CONTENT[300])
    async with served(liar, version=version) as remote:
        for _ in range(3):
            with pytest.raises(WrongContent, match="kept 301 bytes"):
                await remote.put(key)
            assert not await remote.check_present(key)


@pytest.mark.parametrize("through_protocol", [False, True])
async def test_a_node_with_an_offset_beyond_the_content_is_left_out(through_protocol: bool) -> None:
    liar, good = Liar("liar"), MemoryStore("good")
    liar.kept = 301
    content = CONTENT[300]
    async with served(liar) as remote:
        bad = Node("liar", remote if through_protocol else liar)
        async with Cluster("ac", [bad, Node("good", good)]) as cluster:
            upload = await cluster.put(key_of(content))
            assert not isinstance(upload, AlreadyHave)
            async with upload:
                assert upload.offset == 0
                await upload.begin(300)
                await send_pieces(upload, content)
                assert await upload.finish(True) == Stored(frozenset({"good"}))
            assert bad.transfers == 0
            assert not liar._uploading
        async with Cluster("alone", [bad]) as alone:
            with pytest.raises(RemoteError, match="kept 301 bytes"):
                await alone.put(key_of(content))
            assert bad.transfers == 0


async def test_an_upload_is_turned_down_as_the_protocol_has_it() -> None:
    """So that the connection serves the next request."""
    liar = Liar()
    liar.kept = 301
    async with served(liar, connections=1) as remote:
        before, _ = await remote._pool.acquire()
        await remote._pool.release(before)
        with pytest.raises(WrongContent):
            await remote.put(key_of(CONTENT[300]))
        assert await remote._pool.acquire() == (before, True)
        await remote._pool.release(before)


@pytest.mark.parametrize("chunk", [1, 2, 3])
async def test_the_key_of_a_chunk_has_the_size_of_the_whole_content(chunk: int) -> None:
    """As in git-annex (tests/compat/test_keys_compat.py)."""
    content = b"x" * 250
    key = Key.make("SHA256", hashlib.sha256(content).hexdigest(), size=250, chunk_size=100, chunk_number=chunk)
    store = MemoryStore()
    store.contents[key] = content
    async with served(store) as remote, Cluster("c", [Node("n", remote)]) as cluster:
        assert await fetch(remote, key) == content
        assert await fetch(cluster, key, 7) == content[7:]
        store.contents[key] = content[:100]
        with pytest.raises(WrongContent):
            await fetch(remote, key)


async def test_a_client_that_retrieves_is_told(tmp_path: object) -> None:
    liar = Liar()
    liar.error = -1
    async with served(liar) as remote:
        with pytest.raises(WrongContent, match="announces 299 bytes"):
            await retrieve(remote, key_of(CONTENT[300]), f"{tmp_path}/f")
