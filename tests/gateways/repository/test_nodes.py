"""The nodes of a gateway repository: what each costs, special remotes, and nodes that are not there."""

from __future__ import annotations

import os
import sys

import pytest

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.gateways.repository.nodes import cost_of
from p2pannex.git_annex.remotes import GitRemote
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import fetch, store
from tests.gateways.repository.gateway import KEY, Gateway
from tests.support.special_remotes import PLAIN


async def test_a_node_that_is_not_there_is_used_when_it_is(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.node("c")
    (gateway.nodes / "c").rename(gateway.nodes / "away")
    async with gateway.cluster() as cluster:
        assert len(cluster.problems) == 1
        assert "node c" in cluster.problems[0]
        assert "node c" in caplog.text
        assert not await cluster.check_present(KEY)  # new content can be sent
        await store(cluster, b"content")
        assert [gateway.has(name) for name in "ab"] == [True, True]
        removal = await cluster.remove(KEY)
        assert not removal.ok, "it is not known whether c has it"
        assert removal.uuids == {gateway.uuids["a"], gateway.uuids["b"]}
        (gateway.nodes / "away").rename(gateway.nodes / "c")
        await cluster.reload()
        assert not list(cluster.problems)
        await store(cluster, b"content")
        assert gateway.has("c")
    assert gateway.locations(KEY) == {"a", "b", "c"}


async def test_another_repository_in_the_place_of_a_node_is_not_taken_for_it(gateway: Gateway) -> None:
    """For example where another disk is mounted now. It neither gets content nor counts as the node."""
    (gateway.nodes / "b").rename(gateway.nodes / "away")
    other = DirectoryStore.create(gateway.nodes / "b")
    async with gateway.cluster() as cluster:
        assert cluster.problems == (
            f"node b: the repository in {gateway.nodes}/b is {other.uuid}, not {gateway.uuids['b']}",
        )
        await store(cluster, b"content")
        removal = await cluster.remove(KEY)
        assert not removal.ok
        assert removal.uuids == {gateway.uuids["a"]}
    assert not await other.check_present(KEY)
    async with gateway.open(gateway.uuids["b"]) as service:
        with pytest.raises(RemoteError, match=other.uuid):
            await service.check_present(KEY)


async def test_a_server_is_told_which_repository_is_meant(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a gateway: without the UUID it would serve its own repository."""
    ssh = gateway.nodes / "ssh"
    ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {gateway.nodes}/words\nexit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(ssh))
    uuid = gateway.node("far", there=False)
    gateway.config("remote.far.url")
    gateway.config("remote.far.url", "ssh://host/srv/annex")
    async with gateway.open(uuid) as service:
        with pytest.raises(ConnectionLost):
            await service.check_present(KEY)
    assert f"--uuid '{uuid}'" in (gateway.nodes / "words").read_text()


async def test_a_special_remote_is_a_node_that_answers_with_what_is_wrong(gateway: Gateway) -> None:
    uuid = gateway.node("s3", there=False)
    gateway.config("remote.s3.url")
    gateway.verified(f"{uuid} type=S3 encryption=none name=s3 timestamp=1s")
    async with gateway.cluster() as cluster:
        assert any("the special remote s3 has type=S3" in problem for problem in cluster.problems)
        await store(cluster, b"content")
    assert gateway.locations(KEY) == {"a", "b"}
    async with gateway.open(uuid) as service:
        with pytest.raises(RemoteError, match="special remote s3"):
            await service.check_present(KEY)


async def test_a_special_remote_that_only_the_branch_knows_is_not_run(gateway: Gateway) -> None:
    """Every client that can push can write there."""
    uuid = gateway.node("cloud", there=False)
    gateway.config("remote.cloud.url")
    described = f"{uuid} type=external externaltype=plain encryption=none name=cloud timestamp=1s"
    gateway.write("remote.log", described)
    async with gateway.cluster() as cluster:
        assert any("git annex verifyremote cloud" in problem for problem in cluster.problems)
    gateway.verified(described)
    gateway.config("remote.cloud.annex-verified")
    async with gateway.cluster() as cluster:
        assert any("git annex verifyremote cloud" in problem for problem in cluster.problems)


async def test_special_remotes_are_nodes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    (gateway.nodes / "git-annex-remote-plain").write_text(f'#!/bin/sh\nexec {sys.executable} {PLAIN} "$@"\n')
    (gateway.nodes / "git-annex-remote-plain").chmod(0o755)
    monkeypatch.setenv("PATH", f"{gateway.nodes}{os.pathsep}{os.environ['PATH']}")
    for name in ("cloud", "sky"):
        gateway.node(name, there=False)
        gateway.config(f"remote.{name}.url")
    gateway.verified(
        *(
            f"{gateway.uuids[name]} directory={gateway.nodes}/my&32;{name} encryption=none externaltype=plain "
            f"name={name} type=external timestamp=1s"
            for name in ("cloud", "sky")
        ),
    )

    def stored(name: str) -> list[bytes]:
        return [path.read_bytes() for path in (gateway.nodes / f"my {name}").iterdir()]

    async with gateway.cluster() as cluster:
        assert not list(cluster.problems)
        await store(cluster, b"content")
        assert stored("cloud") == stored("sky") == [b"content"]
        assert (await cluster.remove(KEY)).ok
    assert gateway.locations(KEY) == set()
    async with gateway.open(gateway.uuids["sky"]) as service:
        await store(service, b"content")
        assert await fetch(service, KEY) == b"content"
    assert gateway.locations(KEY) == {"sky"}
    assert stored("cloud") == []


async def test_costs() -> None:
    def remote(**settings: str) -> GitRemote:
        return GitRemote("r", {name.replace("_", "-"): value for name, value in settings.items()}, "/srv")

    assert await cost_of(remote(annex_cost_command="echo 12.5", annex_cost="7")) == 12.5
    assert await cost_of(remote(annex_cost_command="echo much", annex_cost="7")) == 7
    assert await cost_of(remote(annex_cost_command="echo 3; exit 1", annex_cost="7")) == 7
    assert await cost_of(remote()) == 100
