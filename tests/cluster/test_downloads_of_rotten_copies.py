"""A node with a rotten copy: the next try of a download succeeds, and the copy is known to be wrong from then on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.cluster.cluster import Cluster
from p2pannex.cluster.downloads import SMALL_CONTENT
from p2pannex.cluster.node import Node
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service, Stored
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, offer, sample, store
from p2pannex.testing.serving import served

NODES = 3


async def receive(service: Service, key: Key, offset: int = 0) -> bool:
    """GET as a client does that verifies: whether the rest of the content was right, which is the receipt."""
    async with await service.get(key, offset=offset) as download:
        content = bytearray()
        block = memoryview(bytearray(1 << 20))
        while count := await download.readinto(block):
            content += block[:count]
        await download.valid()
        right = bytes(content) == sample(SIZE[key])[offset:]
        await download.finish(right)
    return right


SIZE: dict[Key, int] = {}


@pytest.mark.parametrize("through_protocol", [False, True])
@pytest.mark.parametrize(
    ("size", "offset", "tries"),
    [
        (1000, 0, 1),
        (1000, 10, 2),
        (SMALL_CONTENT, 0, 1),
        (SMALL_CONTENT + 1, 0, 2),
        (2_000_000, 0, 2),
        (2_000_000, 9, 2),
    ],
)
async def test_one_rotten_copy_of_three(
    tmp_path: Path, size: int, offset: int, tries: int, through_protocol: bool
) -> None:
    stores = [DirectoryStore.create(tmp_path / str(number)) for number in range(NODES)]
    # The first is the cheapest, so that every request begins with it.
    cluster = Cluster("c", [Node(str(number), one, cost=number) for number, one in enumerate(stores)])
    async with cluster, served(cluster) as remote:
        service: Service = remote if through_protocol else cluster
        content = sample(size)
        key = await store(service, content)
        SIZE[key] = size
        rotten = Path(os.fsdecode(stores[0].layout.find(key)))
        rotten.chmod(0o644)
        rotten.write_bytes(content[:-4] + b"ROT!")
        rotten.chmod(0o444)
        assert await receive(service, key, offset) is (tries == 1)
        assert await receive(service, key), "the second try succeeds"
        async with DirectoryStore(tmp_path / "0") as another_process:
            assert not await another_process.check_present(key)
        assert await fetch(service, key) == content
        assert not isinstance(await offer(stores[0], content, key), AlreadyHave), "a put repairs it"
        assert await stores[0].check_present(key)


async def test_small_content_of_keys_that_cannot_be_verified(tmp_path: Path) -> None:
    one = DirectoryStore.create(tmp_path / "one")
    key = Key.parse("WORM-s4-m1--name")
    async with Cluster("c", [Node("one", one)]) as cluster:
        assert await offer(cluster, b"worm", key) == Stored(frozenset([one.uuid]))
        assert await fetch(cluster, key) == b"worm"
