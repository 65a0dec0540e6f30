"""Adding a node to a gateway directory from a program, without the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

import p2pannex
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.directory.add_node import add_node, check_node_name, set_up_special
from p2pannex.gateways.directory.cluster import GatewayDirectory, special_state
from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, NotAGateway, change, create
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import store
from p2pannex.url_syntax import InvalidURL
from p2pannex.urls import open_url
from tests.support.special_remotes import PLAIN as SPECIAL


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    create(str(tmp_path / "gateway"), "family")
    return tmp_path / "gateway"


def special(tmp_path: Path, program: str = sys.executable, **fields: object) -> NodeConfig:
    settings = {"directory": str(tmp_path / "cloud")}
    return NodeConfig("", external=(program, "-I", "-S", str(SPECIAL), "2"), settings=settings, **fields)  # type: ignore[arg-type]


async def test_a_directory(gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = DirectoryStore.create(tmp_path / "attic").uuid
    monkeypatch.chdir(tmp_path)
    node = await add_node("gateway", "attic", NodeConfig("", "attic", cost=7, groups=("old",)), open_url)
    assert node == NodeConfig(uuid, str(tmp_path / "attic"), cost=7, groups=("old",))
    assert GatewayConfig.load(gateway).nodes == {"attic": node}


async def test_a_remote_repository(gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = DirectoryStore.create(tmp_path / "attic").uuid
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(p2pannex.__file__)))
    url = f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path}/attic client"
    assert await add_node(gateway, "attic", NodeConfig("", url), open_url) == NodeConfig(uuid, url)


async def test_a_running_gateway_opens_it(gateway: Path, tmp_path: Path) -> None:
    DirectoryStore.create(tmp_path / "attic")
    async with GatewayDirectory(gateway, open_url) as cluster:
        await add_node(gateway, "attic", NodeConfig("", str(tmp_path / "attic")), open_url)
        with trio.fail_after(50):
            while not cluster.nodes:  # noqa: ASYNC110 - it looks once a second
                await trio.sleep(0.05)
        key = await store(cluster, b"content")
    async with DirectoryStore(tmp_path / "attic") as attic:
        assert await attic.check_present(key)


@pytest.mark.parametrize("reported", [True, False])
async def test_a_special_remote(gateway: Path, tmp_path: Path, reported: bool) -> None:
    node = await add_node(gateway, "cloud", special(tmp_path, cost=3), open_url, reported_cost=reported)
    assert node.cost == (150 if reported else 3)
    assert node.uuid
    assert GatewayConfig.load(gateway).nodes == {"cloud": node}
    assert os.path.exists(special_state(str(gateway), node)), "it was set up"


async def test_a_relative_program_is_made_absolute(
    gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    node = await add_node(gateway, "cloud", special(tmp_path, "./python"), open_url)
    assert node.external[0] == str(tmp_path / "python")


async def test_a_given_uuid_has_to_be_that_of_the_repository(gateway: Path, tmp_path: Path) -> None:
    uuid = DirectoryStore.create(tmp_path / "attic").uuid
    url = str(tmp_path / "attic")
    with pytest.raises(RemoteError, match=f"attic is repository {uuid}, not another"):
        await add_node(gateway, "attic", NodeConfig("another", url), open_url)
    assert (await add_node(gateway, "attic", NodeConfig(uuid, url), open_url)).uuid == uuid


@pytest.mark.parametrize(
    ("name", "node", "error", "problem"),
    [
        ("a\nb", NodeConfig("", "{tmp}/attic"), RemoteError, "one line of text"),
        ("known", NodeConfig("", "{tmp}/attic"), RemoteError, "there is a node known already; choose another name"),
        ("new", NodeConfig("", "{tmp}/known"), RemoteError, "known is the same repository as node known"),
        ("new", NodeConfig("", "{tmp}/also-known"), RemoteError, "also-known is the same repository as node known"),
        ("new", NodeConfig("", "{tmp}/self"), RemoteError, "a cluster cannot be a node of itself"),
        ("new", NodeConfig("", "{tmp}/gateway"), RemoteError, "it is a gateway directory of this machine"),
        ("new", NodeConfig("", "{tmp}/nowhere"), RemoteError, "not a p2pannex store"),
        ("new", NodeConfig("", "exec:false"), ConnectionLost, "exit status 1"),
        ("new", NodeConfig(""), InvalidURL, "empty URL"),
        ("new", NodeConfig("", "http://x"), InvalidURL, "not supported"),
        ("new", NodeConfig("", "exec:false", wanted="url=x"), RemoteError, "node new: url=x cannot be evaluated"),
        ("new", NodeConfig("", "exec:false", external=("x",)), ValueError, "either a URL or a special remote"),
        ("new", NodeConfig("a b", external=("x",)), RemoteError, "cannot be a uuid"),
        ("new", NodeConfig("", external=("no-such-program",)), RemoteError, "there is no program no-such-program"),
    ],
)
async def test_what_cannot_be_added(
    gateway: Path, tmp_path: Path, name: str, node: NodeConfig, error: type[Exception], problem: str
) -> None:
    for store_name in ("attic", "known"):
        DirectoryStore.create(tmp_path / store_name)
    (tmp_path / "also-known").symlink_to(tmp_path / "known")
    DirectoryStore.create(tmp_path / "self", uuid=GatewayConfig.load(gateway).gateway)
    await add_node(gateway, "known", NodeConfig("", str(tmp_path / "known")), open_url)
    before = (gateway / "p2pannex.toml").read_bytes()
    with pytest.raises(error, match=problem):
        await add_node(gateway, name, _in(tmp_path, node), open_url)
    assert (gateway / "p2pannex.toml").read_bytes() == before
    assert not (gateway / "special").exists() or not os.listdir(gateway / "special")


def _in(tmp_path: Path, node: NodeConfig) -> NodeConfig:
    return NodeConfig(node.uuid, node.url.format(tmp=tmp_path), wanted=node.wanted, external=node.external)


async def test_no_gateway_directory(tmp_path: Path) -> None:
    DirectoryStore.create(tmp_path / "attic")
    with pytest.raises(NotAGateway):
        await add_node(tmp_path, "attic", NodeConfig("", str(tmp_path / "attic")), open_url)


async def test_a_set_up_that_fails_keeps_the_state_that_there_was(gateway: Path, tmp_path: Path) -> None:
    node = NodeConfig("uuid-of-cloud", external=(sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(RemoteError):
        await set_up_special(gateway, "cloud", node)
    assert not os.path.exists(special_state(str(gateway), node))
    os.makedirs(special_state(str(gateway), node))
    with pytest.raises(RemoteError):
        await set_up_special(gateway, "cloud", node)
    assert os.path.exists(special_state(str(gateway), node))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x00"])
def test_names_that_no_node_can_have(name: str) -> None:
    with pytest.raises(RemoteError, match="a node's name is one line of text"):
        check_node_name(name)


def test_nodes_are_changed_and_removed(gateway: Path) -> None:
    change(gateway, lambda config: config.with_node("a", NodeConfig("u", "/a")).with_node("b", NodeConfig("v", "/b")))
    change(gateway, lambda config: config.with_node("a", NodeConfig("u", "/elsewhere")))
    config = change(gateway, lambda config: config.without_node("b"))
    assert config.nodes == GatewayConfig.load(gateway).nodes == {"a": NodeConfig("u", "/elsewhere")}
    assert config.node("a").url == "/elsewhere"
    for call in (config.node, config.without_node):
        with pytest.raises(RemoteError, match="there is no node b; there are: a"):
            call("b")
