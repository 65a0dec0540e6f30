"""A P2P network of unix sockets, made of socat: the real git-annex at one end, p2pannex at the other."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.annex_environment import AnnexEnvironment, program

pytestmark = pytest.mark.compat

P2PANNEX = (sys.executable, "-m", "p2pannex.cli.main")

SERVE = Path(__file__).parents[2] / "docs" / "how-to" / "serve-on-a-p2p-network.md"


def network(directory: Path) -> Path:
    """The network that the documentation shows, its socket in `directory` instead; the socket's path."""
    blocks: list[str] = re.findall("^```sh\n(.*?)^```$", SERVE.read_text(), re.DOTALL | re.MULTILINE)
    (script,) = (block for block in blocks if block.startswith("#!"))
    assert "/run/films.sock" in script
    program(directory / "git-annex-p2p-unixdemo", script.replace("/run/films.sock", f"{directory}/films.sock"))
    return directory / "films.sock"


class Peers:
    """A repository on the network, and another from which it is to be reached."""

    def __init__(self, environment: AnnexEnvironment, programs: Path) -> None:
        self.environment = environment
        self.log = environment.home / "log"
        self.socket = network(programs)
        self.address = f"p2p-annex::unixdemo:{self.socket}"
        self.server = environment.repository("server")
        self.annex("p2p", "--enable", "unixdemo", cwd=self.server)
        self.token = self.annex("p2p", "--gen-addresses", cwd=self.server).removeprefix(self.address + ":").strip()
        self.client = environment.repository("client")
        self.client.joinpath("file").write_text("content\n" * 1000)
        self.annex("add", "-q", "file", cwd=self.client)
        environment.run("git", "commit", "-qm", "file", cwd=self.client)
        self.key = self.annex("lookupkey", "file", cwd=self.client).strip()

    def annex(self, *command: str, cwd: Path, check: bool = True) -> str:
        return self.environment.run("git", "annex", *command, cwd=cwd, check=check).stdout

    def p2pannex(self, *command: str, cwd: Path | None = None) -> str:
        return self.environment.run(*P2PANNEX, *command, cwd=cwd or self.client).stdout

    def link(self) -> None:
        """Make the server a remote of the client's, with its token."""
        subprocess.run(
            ["git", "annex", "p2p", "--link", "--name", "peer"],
            cwd=self.client,
            env=self.environment.variables,
            input=f"{self.address}:{self.token}\n",
            text=True,
            capture_output=True,
            check=True,
            timeout=60,
        )

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program that serves the server's repository on the network. What it says goes to `log`."""
        with (
            self.log.open("wb") as log,
            subprocess.Popen(
                command,
                cwd=self.server,
                env=self.environment.variables,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                end = time.monotonic() + 60
                while not self.socket.exists():
                    assert process.poll() is None, self.log.read_text()
                    assert time.monotonic() < end
                    time.sleep(0.02)
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(60)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)  # git-annex leaves the network's program running

    def locations(self) -> set[str]:
        """Where the server's own records say that the content is."""
        said = json.loads(self.annex("whereis", "--json", "--key", self.key, cwd=self.server, check=False))
        return {place["uuid"] for place in said["whereis"]}

    def check_server(self) -> None:
        self.annex("fsck", "--all", "-q", cwd=self.server)
        assert not list(self.server.joinpath(".git/annex/journal").glob("*"))
        assert not [path for path in self.server.joinpath(".git/annex/tmp").glob("*") if path.is_file()]


@pytest.fixture
def peers(annex_env: AnnexEnvironment, tmp_path: Path) -> Peers:
    own = tmp_path / "network"
    own.mkdir()
    annex_env.variables["PATH"] = f"{own}{os.pathsep}{annex_env.variables['PATH']}"
    return Peers(annex_env, own)


def test_git_annex_reaches_p2pannex(peers: Peers) -> None:
    uuid = peers.environment.uuid(peers.server)
    (address,) = peers.server.joinpath(".git/annex/creds/p2paddrs").read_text().splitlines()
    with peers.running(*P2PANNEX, "serve", ".", "--listen", address) as process:
        peers.link()
        assert peers.environment.run("git", "config", "remote.peer.annex-uuid", cwd=peers.client).stdout.strip() == uuid
        peers.annex("copy", "--to", "peer", "-q", cwd=peers.client)
        peers.annex("fsck", "--from", "peer", "-q", cwd=peers.client)
        peers.annex("drop", "-q", "file", cwd=peers.client)
        peers.annex("get", "-q", "file", cwd=peers.client)
        peers.annex("move", "--to", "peer", "-q", cwd=peers.client)
        peers.p2pannex("check", peers.address, peers.key)
    assert process.returncode == 0
    said = peers.log.read_text()
    assert said.splitlines()[0] == peers.address
    assert "accepted with token" in said
    assert peers.token not in said
    assert not peers.socket.exists(), "the network's program was ended as well"
    assert peers.locations() == {uuid}
    peers.check_server()


def test_p2pannex_reaches_git_annex(peers: Peers, tmp_path: Path) -> None:
    uuid = peers.environment.uuid(peers.server)
    with peers.running("git", "annex", "remotedaemon", "--foreground"):
        said = peers.environment.run(*P2PANNEX, "info", peers.address, cwd=peers.client, check=False)
        assert said.returncode
        assert "token" in said.stderr
        peers.link()
        assert json.loads(peers.p2pannex("info", peers.address, "--json"))["uuid"] == uuid
        peers.p2pannex("copy", ".", peers.address, peers.key)
        peers.p2pannex("get", peers.address, peers.key, "-o", str(tmp_path / "again"))
        assert (tmp_path / "again").read_text() == peers.client.joinpath("file").read_text()
        assert peers.locations() == {uuid}
        peers.check_server()
        peers.p2pannex("remove", peers.address, peers.key, "--while-locked-on", ".")
        assert peers.locations() == set()
    peers.annex("fsck", "-q", cwd=peers.client)
    assert f"present {peers.key}\n" == peers.p2pannex("check", ".", peers.key)
