"""Downloads from nodes that send something else than the content: another node's is sent, or the receiver learns it."""

from __future__ import annotations

import pytest
import trio
from attrs import define, field

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.downloads import SMALL_CONTENT, TRANSFER_CLOSE_TIMEOUT
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Download
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, sample
from p2pannex.testing.simulator import Simulation, simulate

SMALL, LARGE = 1000, SMALL_CONTENT + 1000
WITHOUT_SIZE = Key.parse("WORM-m1--name")


@define(eq=False)
class Sends(MemoryStore):
    """A node that sends `content`, whatever the key is, and notes what it is told about it."""

    name: str
    content: bytes
    announced: int | None = None
    """The length that it announces for all of the content, if that is not its length."""
    valid: bool | None = True
    """What it reports; None if its connection breaks instead."""
    breaks_at: int | None = None
    receipts: list[bool] = field(factory=list)
    requests: list[int] = field(factory=list)
    """The offsets that were requested."""
    hangs_at_close: bool = False

    def __attrs_post_init__(self) -> None:
        super().__init__(self.name)

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await trio.lowlevel.checkpoint()
        self.requests.append(offset)
        return _Sent(self, offset)


class _Sent(Download):
    def __init__(self, node: Sends, offset: int) -> None:
        self._node = node
        self._at = offset
        self.length = (len(node.content) if node.announced is None else node.announced) - offset

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        if self._node.breaks_at is not None and self._at >= self._node.breaks_at:
            raise ConnectionLost("it broke")
        part = self._node.content[self._at : self._node.breaks_at][: len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    async def valid(self) -> bool:
        await trio.lowlevel.checkpoint()
        if self._node.valid is None:
            raise ConnectionLost("it broke before it reported")
        return self._node.valid

    async def finish(self, received: bool) -> None:
        await trio.lowlevel.checkpoint()
        self._node.receipts.append(received)

    async def aclose(self) -> None:
        if self._node.hangs_at_close:
            await trio.sleep(1000)
        await trio.lowlevel.checkpoint()


def cluster_of(*nodes: Sends) -> Cluster:
    return Cluster("cluster", [Node(node.name, node, cost=cost) for cost, node in enumerate(nodes)])


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("announced", [-1, 1, 500])
async def test_a_length_that_is_not_the_keys_leads_on_to_the_next_node(size: int, announced: int) -> None:
    content = sample(size)
    wrong = sample(size + announced, 1)
    async with cluster_of(Sends("a", wrong), Sends("b", content)) as cluster:
        assert await fetch(cluster, key_of(content)) == content
        assert await fetch(cluster, key_of(content), 10) == content[10:]


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_node_continues_only_with_as_many_bytes_as_are_left(size: int) -> None:
    """The key does not tell the size: that which was announced first is the only one that the receiver knows."""
    content = sample(LARGE)
    first = Sends("a", content, breaks_at=500)
    async with cluster_of(first, Sends("b", sample(size + 7, 1)), Sends("c", content)) as cluster:
        assert await fetch(cluster, WITHOUT_SIZE) == content
    async with cluster_of(Sends("a", content, breaks_at=500), Sends("b", sample(size + 7, 1))) as cluster:
        with pytest.raises(ConnectionLost):
            await fetch(cluster, WITHOUT_SIZE)


@pytest.mark.parametrize("key", [key_of(sample(SMALL)), Key.parse(f"WORM-s{SMALL}-m1--name")], ids=["digest", "none"])
async def test_an_invalid_leads_on_to_the_next_node_for_small_content(key: Key) -> None:
    content = sample(SMALL)
    wrong = Sends("a", content, valid=False)
    async with cluster_of(wrong, Sends("b", content)) as cluster:
        assert await fetch(cluster, key) == content
    assert wrong.receipts == [False]
    async with cluster_of(Sends("a", content, valid=False), Sends("b", content, valid=False)) as cluster:
        assert await fetch(cluster, key) is None, "no node has it as valid"


async def test_a_wrong_digest_leads_on_to_the_next_node_for_small_content() -> None:
    """The node is told, so that it looks at its copy."""
    content = sample(SMALL)
    wrong, right = Sends("a", sample(SMALL, 1)), Sends("b", content)
    async with cluster_of(wrong, right) as cluster:
        assert await fetch(cluster, key_of(content)) == content
    assert (wrong.receipts, right.receipts) == ([False], [True])
    async with cluster_of(Sends("a", sample(SMALL, 1))) as cluster:
        assert await fetch(cluster, key_of(content)) is None


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_content_that_ends_early_is_replaced_by_another_nodes(size: int) -> None:
    content = sample(size)
    short = Sends("a", content[:-10], announced=size)
    async with cluster_of(short, Sends("b", content)) as cluster:
        assert await fetch(cluster, key_of(content)) == content
    async with cluster_of(Sends("a", content[:-10], announced=size)) as cluster:
        with pytest.raises((RemoteError, ConnectionLost)):
            await fetch(cluster, key_of(content))


async def test_an_invalid_for_large_content_is_passed_on() -> None:
    content = sample(LARGE)
    async with cluster_of(Sends("a", content, valid=False), Sends("b", content)) as cluster:
        assert await fetch(cluster, key_of(content)) is None


async def test_after_a_failed_node_an_invalid_leads_on_to_another() -> None:
    """It may only mean that this node has nothing at all."""
    content = sample(LARGE)
    first, second, third = Sends("a", content, valid=None), Sends("b", content, valid=False), Sends("c", content)
    async with cluster_of(first, second, third) as cluster:
        assert await fetch(cluster, key_of(content)) == content
    assert third.requests == [LARGE], "all bytes were there, and nothing was read again"


async def test_a_node_that_fails_before_it_reports_says_nothing_about_the_content() -> None:
    """INVALID would make the receiver throw the bytes away, and suspect a copy that is good."""
    content = sample(LARGE)
    async with cluster_of(Sends("a", content, valid=None)) as cluster:
        with pytest.raises(ConnectionLost, match="could confirm"):
            await fetch(cluster, key_of(content))


async def test_never_more_bytes_than_announced() -> None:
    content = sample(LARGE)
    async with (
        cluster_of(Sends("a", content + b"more", announced=LARGE)) as cluster,
        await cluster.get(WITHOUT_SIZE) as download,
    ):
        assert download.length == LARGE
        block = memoryview(bytearray(2 * LARGE))
        assert await download.readinto(block) == LARGE
        assert await download.readinto(block) == 0


@pytest.mark.parametrize("offset", [0, LARGE - 10, LARGE - SMALL])
@pytest.mark.parametrize("received", [True, False])
async def test_the_receipt_reaches_the_node(received: bool, offset: int) -> None:
    content = sample(LARGE)
    node = Sends("a", content)
    async with cluster_of(node) as cluster, await cluster.get(key_of(content), offset=offset) as download:
        block = memoryview(bytearray(LARGE))
        while await download.readinto(block):
            pass
        assert await download.valid()
        await download.finish(received)
    assert node.receipts == [received]


async def test_content_that_no_node_has_is_not_valid() -> None:
    async with Cluster("cluster", [Node("a", MemoryStore()), Node("b", MemoryStore())]) as cluster:
        async with await cluster.get(key_of(b"absent")) as download:
            assert download.length == 0
            assert not await download.valid()
        assert not any(node.transfers for node in cluster.nodes)


@pytest.mark.parametrize("error", [RemoteError("refused"), ConnectionLost("gone")])
async def test_a_node_that_fails_is_not_taken_for_one_without_the_content(error: Exception) -> None:
    class Fails(MemoryStore):
        async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
            raise error

    async with Cluster("cluster", [Node("a", Fails()), Node("b", MemoryStore())]) as cluster:
        with pytest.raises(RemoteError, match="a: "):
            await cluster.get(key_of(b"there, perhaps"))
        assert not any(node.transfers for node in cluster.nodes)


def test_closing_the_download_of_a_hanging_node_takes_a_few_seconds() -> None:
    content = sample(LARGE)

    async def scenario(world: Simulation) -> None:
        async with cluster_of(Sends("a", content, hangs_at_close=True)) as cluster:
            download = await cluster.get(key_of(content))
            started = trio.current_time()
            await download.aclose()
            assert trio.current_time() - started <= TRANSFER_CLOSE_TIMEOUT
            assert cluster.nodes[0].transfers == 0

    simulate(scenario)


def test_a_cancelled_get_gives_its_slots_back() -> None:
    """Cancelled while it is opened, and the download is never seen by the caller."""

    async def scenario(world: Simulation) -> None:
        node = world.node("a", latency=1.0)
        content = sample(LARGE)
        node.store.contents[key := key_of(content)] = content
        async with world.cluster() as cluster:
            for tenths in range(30):
                with trio.move_on_after(tenths / 10):
                    await (await cluster.get(key)).aclose()
                assert cluster.nodes[0].transfers == 0

    simulate(scenario)
