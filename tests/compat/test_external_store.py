"""A real git-annex client whose remote is a special remote, served as a repository over ssh."""

import re
import sys

import pytest

from tests.compat.annex_environment import AnnexEnvironment, SshServer, program
from tests.support.special_remotes import PLAIN

pytestmark = pytest.mark.compat

UUID = "0c0c0c0c-1111-4222-8333-444444444444"

SHELL = f"""#!{sys.executable}
import sys
command, directory = sys.argv[1:3]
if command == "configlist":
    print("annex.uuid={UUID}\\ncore.gcrypt-id=")
    sys.exit()
if command != "p2pstdio":
    sys.exit("no such command: " + command)

import trio
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol import Side
from p2pannex.p2p.server import serve
from p2pannex.stores.external.store import ExternalStore
from p2pannex.transports.descriptor import DescriptorStream

async def main():
    program = [sys.executable, "-I", "-S", {str(PLAIN)!r}, "1", "async"]
    config = {{"directory": directory + "/cloud"}}
    async with ExternalStore("{UUID}", program, config, directory + "/spool", directory + "/state") as store:
        await serve(StreamPeer(DescriptorStream(0, 1, keep_open=True), Side.SERVER), store)

trio.run(main)
"""


def test_git_annex_uses_a_special_remote_as_a_repository(annex_env: AnnexEnvironment, sshd: SshServer) -> None:
    path = annex_env.repository("client")
    served = annex_env.home / "served"
    served.mkdir()

    def git(*words: str, check: bool = True) -> str:
        return annex_env.run("git", *words, cwd=path, check=check).stdout

    git("remote", "add", "cloud", sshd.url(served))
    git("config", "remote.cloud.annex-shell", str(program(annex_env.home / "shell", SHELL)))
    git("config", "remote.cloud.annex-ssh-options", f"-F {sshd.config}")
    contents = {"small": b"hello", "empty": b"", "large": bytes(range(256)) * 20000}
    for name, content in contents.items():
        (path / name).write_bytes(content)
    git("annex", "add", "-q", ".")
    git("annex", "copy", "--to", "cloud", ".")
    assert len(list((served / "cloud").iterdir())) == 3
    git("annex", "fsck", "--from", "cloud", ".")
    assert git("annex", "whereis").count(UUID) == 3
    git("annex", "drop", ".")  # it cannot be locked, so git-annex asks whether it is there, as of any special remote
    git("annex", "get", ".")
    for name, content in contents.items():
        assert (path / name).read_bytes() == content
    git("annex", "drop", "--from", "cloud", ".")
    assert not list((served / "cloud").iterdir())

    output = git("annex", "testremote", "cloud", "--fast", "--size=64KiB")
    passed = re.search(r"All (\d+) tests passed", output)
    assert passed is not None, output
    assert int(passed[1]) >= 125
