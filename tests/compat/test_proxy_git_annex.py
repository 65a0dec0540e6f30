"""A proxy between the real git-annex and the real git-annex-shell, and between our client and it at every version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Dial, Remote
from p2pannex.service import AlreadyHave, Service
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.testing.serving import served
from p2pannex.transfer.drop import remove_while_locked
from tests.compat.annex_environment import AnnexEnvironment, SshServer, program

pytestmark = pytest.mark.compat

CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"
VERSIONS = range(5)


@pytest.fixture
def dial(annex_env: AnnexEnvironment) -> Dial:
    repository = annex_env.repository("server", "--bare")
    argv = ["git-annex-shell", "p2pstdio", str(repository), CLIENT]

    async def dial() -> Peer:
        return await open_process_peer(argv, env=annex_env.variables, capture_stderr=True)

    return dial


async def _work(service: Service, content: bytes) -> None:
    """Store, look, fetch, lock, refuse, remove."""
    key = await store(service, content)
    assert await service.check_present(key)
    assert isinstance(await service.put(key), AlreadyHave)
    assert await fetch(service, key) == content
    assert await fetch(service, key, len(content) - 5) == content[-5:]
    assert not await service.check_present(key_of(content + b"no"))
    async with await service.lock(key):
        assert await service.check_present(key)
    await remove_while_locked(key, target=service, holder=await _holding(content, key))
    assert not await service.check_present(key)


async def _holding(content: bytes, key: Key) -> MemoryStore:
    holder = MemoryStore()
    await store(holder, content, key)
    return holder


async def test_every_version_on_both_sides(dial: Dial) -> None:
    for theirs in VERSIONS:
        async with await Remote.open(dial, version=theirs) as remote:
            for ours in VERSIONS:
                async with served(remote, transport="pipe", version=ours) as client:
                    assert await client.version() == min(ours, theirs)
                    content = b"%d and %d, " % (ours, theirs) * (20_000 if ours == theirs else 20)
                    await _work(client, content)


@pytest.fixture
def proxied(annex_env: AnnexEnvironment, sshd: SshServer, tmp_path: Path) -> Path:
    """A repository whose remote is reached through `p2pannex proxy`, which ssh runs, and which runs git-annex-shell."""
    server = annex_env.repository("server", "--bare")
    uuid = annex_env.uuid(server)
    shell = program(
        tmp_path / "proxying-shell",
        f"""#!/bin/sh
        if [ "$1" = configlist ]; then exec git-annex-shell "$@"; fi
        exec p2pannex proxy 'exec:git-annex-shell p2pstdio {server} {CLIENT} --uuid {uuid}' --uuid {uuid}
        """,
    )
    client = annex_env.repository("client")
    annex_env.run("git", "remote", "add", "store", sshd.url(server), cwd=client)
    annex_env.run("git", "config", "remote.store.annex-shell", str(shell), cwd=client)
    annex_env.run("git", "config", "remote.store.annex-ssh-options", f"-F {sshd.config}", cwd=client)
    return client


def test_git_annex_through_a_proxy(annex_env: AnnexEnvironment, proxied: Path) -> None:
    (proxied / "file").write_text("content")
    annex_env.run("git", "annex", "add", "file", cwd=proxied)
    annex_env.run("git", "annex", "copy", "--to", "store", "file", cwd=proxied)
    annex_env.run("git", "annex", "drop", "file", cwd=proxied)
    annex_env.run("git", "annex", "get", "file", cwd=proxied)
    annex_env.run("git", "annex", "drop", "--from", "store", "file", cwd=proxied)
    annex_env.run("git", "annex", "move", "--to", "store", "file", cwd=proxied)
    done = annex_env.run("git", "annex", "testremote", "store", "--fast", "--size=64KiB", cwd=proxied, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert re.search(r"All (\d+) tests passed", done.stdout)
