"""Real processes, killed with SIGKILL in the middle of what they do; real files that end where they should not."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from p2pannex.cli.program import program
from p2pannex.cluster import Cluster, Node
from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.service import AlreadyHave, Download, Removal, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, key_of, sample, send_pieces, store
from p2pannex.testing.serving import served
from p2pannex.transports.process import ProcessStream
from p2pannex.transports.pump import BLOCK, FILE_RANGE, SMALL_BODY
from tests.support.waiting import until

SHELL = [sys.executable, "-m", "p2pannex.cli.shell.main"]
SIZE = 12 << 20
"""Bytes: more than processes, the gateway among them, have in their hands at a time."""

KILLED_AT = (0, 1, SMALL_BODY + 1, FILE_RANGE, BLOCK + 1, SIZE - 1)


class Host:
    """Processes that serve a directory, one for each connection."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[trio.Process] = []

    async def dial(self) -> Peer:
        argv = [*SHELL, "p2pstdio", str(self.directory), str(uuid.uuid4())]
        peer = await open_process_peer(argv, capture_stderr=True)
        assert isinstance(peer.stream, ProcessStream)
        self.processes.append(peer.stream.process)
        return peer

    @property
    def living(self) -> list[trio.Process]:
        return [process for process in self.processes if process.poll() is None]

    def kill(self) -> None:
        assert self.living, "there is something to kill"
        for process in self.living:
            process.kill()


def stores_in(directory: Path, names: str) -> list[DirectoryStore]:
    return [DirectoryStore.create(directory / name) for name in names]


@asynccontextmanager
async def hosts_of(stores: list[DirectoryStore]) -> AsyncIterator[tuple[list[Host], list[Node]]]:
    """Stores served by processes, as nodes of which the earlier are cheaper."""
    hosts = [Host(Path(os.fsdecode(store.path))) for store in stores]
    async with AsyncExitStack() as stack:
        nodes = []
        for cost, (host, store) in enumerate(zip(hosts, stores, strict=True)):
            remote = await stack.enter_async_context(Remote(host.dial, store.uuid))
            nodes.append(Node(host.directory.name, remote, cost=cost))
        yield hosts, nodes


async def read(download: Download, count: int) -> bytes:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        view = view[await download.readinto(view) :]
    return bytes(content)


async def test_a_download_whose_source_is_killed_anywhere(tmp_path: Path) -> None:
    """Around the borders of blocks, and at both ends."""
    content = sample(SIZE)
    key = key_of(content)
    stores = stores_in(tmp_path, "ab")
    for each in stores:
        await store(each, content)
    went_on = 0
    async with (
        hosts_of(stores) as (hosts, nodes),
        Cluster("cluster", nodes) as cluster,
        served(cluster, transport="socket") as client,
    ):
        for byte in KILLED_AT:
            await until(lambda: not any(node.transfers for node in nodes))
            nodes[0].health.recovered()  # so that it is asked first again
            async with await client.get(key) as download:
                head = await read(download, byte)
                hosts[0].kill()
                assert head + await read(download, SIZE - byte) == content, f"killed at {byte}"
                assert await download.valid()
                await download.finish(True)
            went_on += nodes[0].health.failures
    assert went_on >= 4, "most of the time it died before it had given everything"
    assert not [host for host in hosts if host.living]


@pytest.mark.parametrize("byte", [2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, SIZE - FILE_RANGE + 1, SIZE - 1])
async def test_a_download_whose_file_ends_early(byte: int, tmp_path: Path) -> None:
    """A directory gives the file itself to the kernel to send (sendfile). Where that ends early, as on a disk that
    fails, another node goes on, too."""
    content = sample(SIZE)
    key = key_of(content)
    stores = stores_in(tmp_path, "ab")
    for each in stores:
        await store(each, content)
    nodes = [Node("a", stores[0], cost=1), Node("b", stores[1], cost=2)]
    async with Cluster("cluster", nodes) as cluster, served(cluster, transport="socket") as client:
        async with await client.get(key) as download:
            head = await read(download, 1000)  # what is on its way already is not what is cut off: that could change it
            (name,) = files_of(stores[0], key)
            os.truncate(os.path.join(stores[0].path, name), byte)
            assert head + await read(download, SIZE - len(head)) == content
            assert await download.valid()
            await download.finish(True)
        assert await fetch(client, key) == content


async def test_a_node_that_is_killed_in_an_upload(tmp_path: Path) -> None:
    content = sample(SIZE)
    key = key_of(content)
    stores = stores_in(tmp_path, "abc")
    a, b, c = (each.uuid for each in stores)
    async with hosts_of(stores) as (hosts, nodes), Cluster("cluster", nodes) as cluster:
        upload = await begun(cluster, key, SIZE)
        async with upload:
            await send_pieces(upload, content[: SIZE // 2])
            await until(lambda: partial(stores[1], key) >= SIZE // 4)
            hosts[1].kill()
            await send_pieces(upload, content[SIZE // 2 :])
            assert await upload.finish(True) == Stored(frozenset({a, c}))
        assert [await each.check_present(key) for each in stores] == [True, False, True]
        nodes[1].answered()
        upload = await begun(cluster, key)
        async with upload:
            assert SIZE // 4 <= upload.offset <= SIZE // 2, "from where it was killed"
            await upload.begin(SIZE - upload.offset)
            await send_pieces(upload, content[upload.offset :])
            assert await upload.finish(True) == Stored(frozenset({a, b, c}))
    for each in stores:
        assert await fetch(each, key) == content


async def test_a_node_that_is_stopped_in_an_upload(tmp_path: Path) -> None:
    """A process that hangs (SIGSTOP) is left out, and the upload does not wait for its end."""
    content = sample(1 << 20)
    key = key_of(content)
    stores = stores_in(tmp_path, "abc")
    a, _, c = (each.uuid for each in stores)
    async with hosts_of(stores) as (hosts, nodes), Cluster("cluster", nodes) as cluster:
        upload = await begun(cluster, key, len(content))
        async with upload:
            await send_pieces(upload, content[:1000])
            (stopped,) = hosts[1].living
            stopped.send_signal(signal.SIGSTOP)
            nodes[1].timeout = 1  # the others may take their time
            await send_pieces(upload, content[1000:])
            assert await upload.finish(True) == Stored(frozenset({a, c}))
        assert hosts[1].living == [stopped], "it is given time to end by itself"
    assert not hosts[1].living
    assert not await stores[1].check_present(key)


async def begun(service: Cluster | Remote, key: Key, length: int | None = None) -> Upload:
    """An upload; with `length` it begins at the beginning."""
    upload = await service.put(key)
    assert not isinstance(upload, AlreadyHave)
    if length is not None:
        assert upload.offset == 0
        await upload.begin(length)
    return upload


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    """A gateway directory of three nodes: a directory, and two that processes serve."""
    path = tmp_path / "gateway"
    # A UUID of the kind that clusters have for git-annex: the nodes of such a one are named.
    cluster(
        str(path), "init", "--name", "family", "--uuid", "ac" + str(uuid.uuid4())[2:14] + "8" + str(uuid.uuid4())[15:]
    )
    for name in "abc":
        DirectoryStore.create(tmp_path / name)
    cluster(str(path), "add", "a", str(tmp_path / "a"))
    for name in "bc":
        cluster(
            str(path), "add", name, f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path / name} me"
        )
    return path


def cluster(directory: str, command: str, *words: str) -> None:
    result = CliRunner().invoke(program, ["cluster", command, directory, *words])
    assert result.exit_code == 0, result.stderr


async def test_a_gateway_that_is_killed_in_an_upload(tmp_path: Path, gateway: Path) -> None:
    """Its nodes have made no promises and are free at once, what serves them goes, and another gateway resumes."""
    content = sample(SIZE)
    key = key_of(content)
    stores = [DirectoryStore(tmp_path / name) for name in "abc"]
    host = Host(gateway)
    async with Remote(host.dial, "") as client:
        upload = await begun(client, key, SIZE)
        async with upload:
            await send_pieces(upload, content[: SIZE // 2])
            await until(lambda: min(partial(each, key) for each in stores) >= SIZE // 4)
            children = children_of(host.living[0].pid)
            assert len(children) >= 2, "those that serve the nodes"
            host.kill()
            with pytest.raises(ConnectionLost):
                await send_pieces(upload, content[SIZE // 2 :])
    await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children))
    for each in stores:
        assert not await each.check_present(key)
        assert await each.remove(key) == Removal(True), "nothing is locked"
        assert files_of(each, key) == [b"annex/tmp/" + key.file_name], "what has arrived, and nothing else"
    least = min(partial(each, key) for each in stores)
    assert least >= SIZE // 4
    async with Remote(host.dial, "") as client:
        upload = await begun(client, key)
        async with upload:
            assert upload.offset == least
            await upload.begin(SIZE - least)
            await send_pieces(upload, content[least:])
            assert await upload.finish(True) == Stored(frozenset(each.uuid for each in stores))
    for each in stores:
        assert await fetch(each, key) == content
        assert len(files_of(each, key)) == 1


async def test_a_gateway_that_is_killed_with_a_lock(tmp_path: Path, gateway: Path) -> None:
    """LOCKCONTENT's SUCCESS is a promise, which the death of who passed it on does not end."""
    content = b"content"
    key = key_of(content)
    stores = [DirectoryStore(tmp_path / name) for name in "abc"]
    for each in stores:
        await store(each, content)
    host = Host(gateway)
    async with Remote(host.dial, "") as client:
        lock = await client.lock(key)
        host.kill()
        await lock.aclose()
    async with Remote(host.dial, "") as client:
        removal = await client.remove(key)
    assert not removal.ok
    kept = [each.uuid for each in stores if await each.check_present(key)]
    assert len(kept) == 1
    assert removal.uuids == {each.uuid for each in stores} - set(kept)


def partial(store: DirectoryStore, key: Key) -> int:
    """Bytes that an upload has left."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(os.path.join(store.path, b"annex", b"tmp", key.file_name))
    return 0


def files_of(store: DirectoryStore, key: Key) -> list[bytes]:
    """All files that have to do with a key."""
    return [
        os.path.relpath(os.path.join(directory, name), store.path)
        for directory, _, names in os.walk(store.path)
        for name in names
        if key.file_name in os.path.join(directory, name)
    ]


def children_of(pid: int) -> list[int]:
    return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]
