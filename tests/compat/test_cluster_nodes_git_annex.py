"""The real git-annex before a cluster whose nodes are special remotes and a directory, each with wishes of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment, SshServer
from tests.support.special_remotes import PLAIN

pytestmark = pytest.mark.compat


@pytest.fixture
def client(annex_env: AnnexEnvironment, sshd: SshServer) -> Path:
    """A repository whose remote is the gateway. One special remote is for films, another for what is small."""
    home, gateway = annex_env.home, annex_env.home / "gateway"
    annex_env.run("p2pannex", "cluster", "init", gateway, "--name", "family")
    annex_env.run("p2pannex", "init", home / "disk")
    annex_env.run("p2pannex", "cluster", "add", gateway, "disk", home / "disk", "--wanted", "largerthan=1kb")
    program = f"{sys.executable} -I -S {PLAIN} 2"
    for name, wanted in (("films", "include=*.film"), ("small", "smallerthan=1kb")):
        special = ["--external", program, "--set", f"directory={home}/{name}"]
        annex_env.run("p2pannex", "cluster", "add", gateway, name, *special, "--wanted", wanted)
    client = annex_env.repository("client")
    annex_env.run("git", "remote", "add", "cluster", sshd.url(gateway), cwd=client)
    annex_env.run("git", "config", "remote.cluster.annex-shell", "p2pannex-shell", cwd=client)
    annex_env.run("git", "config", "remote.cluster.annex-ssh-options", f"-F {sshd.config}", cwd=client)
    return client


def test_everyday_work(annex_env: AnnexEnvironment, client: Path) -> None:
    def annex(*words: str) -> str:
        return annex_env.run("git", "annex", *words, cwd=client).stdout

    def held(name: str) -> list[int]:
        """The sizes of what a node holds."""
        return sorted(
            path.stat().st_size
            for path in (annex_env.home / name).rglob("*")
            if "SHA256E" in path.name and path.is_file()
        )

    sizes = {"a.film": 5000, "b.film": 10, "c.txt": 20, "d.txt": 6000}
    for name, size in sizes.items():
        (client / name).write_text(f"{name}{'x' * (size - len(name))}")
    annex("add", ".")
    annex("copy", "--to", "cluster", ".")
    assert (held("disk"), held("films"), held("small")) == ([5000, 6000], [10, 5000], [10, 20])
    annex("fsck", "--from", "cluster", ".")
    # What special remotes alone have cannot be locked: git-annex asks whether it is there.
    annex("drop", ".")
    annex("get", ".")
    assert {name: (client / name).stat().st_size for name in sizes} == sizes
    annex("drop", "--from", "cluster", ".")
    assert (held("disk"), held("films"), held("small")) == ([], [], [])

    output = annex("testremote", "cluster", "--fast", "--size=4KiB")
    passed = re.search(r"All (\d+) tests passed", output)
    assert passed is not None, output
    assert int(passed[1]) >= 100
