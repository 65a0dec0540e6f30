"""A transfer that is killed resumes at the byte it had reached: with our client and server, and with git-annex's.

A relay between client and server stops passing bytes on in the middle of the content. Then client, relay and server
are killed with SIGKILL. The relay of the second run notes the offset that is used.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.compat.annex_environment import AnnexEnvironment, program

pytestmark = pytest.mark.compat

CONTENT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1 << 19))  # 16 MiB, no two blocks alike
KEY = f"SHA256-s{len(CONTENT)}--{hashlib.sha256(CONTENT).hexdigest()}"
HALF = len(CONTENT) // 2
CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"

RELAY = f"""#!{sys.executable}
# Runs a server and passes on what it and its client say, as far as $STALL_AFTER bytes in one direction.
import os, select, subprocess, sys
if sys.argv[2] != "p2pstdio":
    os.execvp(sys.argv[1], sys.argv[1:])
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ways = {{0: server.stdin.fileno(), server.stdout.fileno(): 1}}
left = dict.fromkeys(ways, int(os.environ.get("STALL_AFTER", 1 << 60)))
while server.stdout.fileno() in ways:
    for source in select.select([*ways], [], [])[0]:
        data = os.read(source, min(65536, left[source]))
        if not data:
            os.close(ways.pop(source))
            continue
        with open(os.environ["RELAY_LOG"], "ab") as log:  # messages begin a write; what follows may be content
            log.write(data[:100].partition(b"\\n")[0] + b"\\n")
        view = memoryview(data)
        while view:
            view = view[os.write(ways[source], view):]
        left[source] -= len(data)
        if not left[source]:
            del ways[source]
            open(os.environ["RELAY_LOG"] + ".stalled", "x")
            while True:
                select.select([], [], [])
sys.exit(server.wait())
"""

OUR_CLIENT = """
import sys, trio
from p2pannex.keys.key import Key
from p2pannex.transfer.transfer import retrieve, send
from p2pannex.urls import open_url
async def main(way, url, key, path):
    async with await open_url(url) as remote:
        await (send if way == "put" else retrieve)(remote, Key.parse(key), path)
trio.run(main, *sys.argv[1:])
"""

LOCAL_SSH = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'


class Side:
    """A client and a server, each ours or git-annex's, with the relay between them."""

    def __init__(self, environment: AnnexEnvironment, client: str, server: str) -> None:
        self.environment = environment
        self.client = client
        self.server = server
        self.log = environment.home / "relay.log"
        self.file = environment.home / "file"
        self.directory = environment.home / "server"
        relay = program(environment.home / "relay", RELAY)
        name = "p2pannex-shell" if server == "ours" else "git-annex-shell"
        self.shell = program(environment.home / "shell", f'#!/bin/sh\nexec {relay} {name} "$@"\n')
        if server == "ours":
            DirectoryStore.create(self.directory)
        else:
            environment.repository("server")
        if client == "git-annex":
            self.repository = environment.repository("client")
            self.git("remote", "add", "server", f"ssh://localhost{self.directory}")
            self.git("config", "remote.server.annex-shell", str(self.shell))
            self.git("config", "annex.backend", "SHA256")

    def git(self, *words: str) -> str:
        return self.environment.run("git", *words, cwd=self.repository, variables=self.variables()).stdout

    def variables(self, stall_after: int | None = None) -> dict[str, str]:
        ssh = program(self.environment.home / "ssh", LOCAL_SSH)
        return {"GIT_ANNEX_USE_GIT_SSH": "1", "GIT_SSH": str(ssh), "RELAY_LOG": str(self.log)} | (
            {} if stall_after is None else {"STALL_AFTER": str(stall_after)}
        )

    def transfer(self, way: str) -> list[str]:
        if self.client == "git-annex":
            return ["git", "annex", *(("copy", "--to") if way == "put" else ("get", "--from")), "server", "file"]
        url = f"exec:{self.shell} p2pstdio {self.directory} {CLIENT}"
        return [sys.executable, "-c", OUR_CLIENT, way, url, KEY, str(self.file)]

    def have_content(self, *, on_the_server: bool) -> None:
        """Put the content where the transfer begins."""
        self.file.write_bytes(CONTENT)
        if self.client == "git-annex":
            (self.repository / "file").write_bytes(CONTENT)
            self.git("annex", "add", "-q", "file")
            self.git("commit", "-q", "-m", "file")
        if on_the_server:
            self.run("put")
            if self.client == "git-annex":
                self.git("annex", "drop", "-q", "file")
            self.file.unlink()
        self.log.unlink(missing_ok=True)

    def cwd(self) -> Path:
        return self.repository if self.client == "git-annex" else self.environment.home

    def run(self, way: str) -> None:
        self.environment.run(*self.transfer(way), cwd=self.cwd(), variables=self.variables())

    def run_and_kill(self, way: str) -> None:
        """Begin a transfer, and kill all that take part in it once half of the content is on its way."""
        stalled = Path(f"{self.log}.stalled")
        with subprocess.Popen(
            self.transfer(way),
            cwd=self.cwd(),
            env=self.environment.variables | self.variables(HALF),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                wait_for(stalled.exists)
                wait_for(lambda: self.kept(way) > 0)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
        self.log.unlink()

    def kept(self, way: str) -> int:
        """Bytes of the largest file that holds a part of the content on the receiving side."""
        receiver = self.directory if way == "put" else self.cwd()
        sizes = [
            path.stat().st_size
            for path in receiver.rglob("*")
            if KEY in path.name or path.name.startswith(("file", ".file"))
            if path.is_file() and not path.is_symlink()
        ]
        return max((size for size in sizes if size < len(CONTENT)), default=0)

    def offset(self, way: str) -> int:
        """The offset that the last transfer used, from what the relay saw."""
        pattern = rb"^PUT-FROM (\d+)$" if way == "put" else rb"^GET (\d+) .*%s$" % KEY.encode()
        found = re.findall(pattern, self.log.read_bytes(), re.MULTILINE)
        assert len(found) == 1
        return int(found[0])

    def arrived(self, way: str) -> bytes:
        if way == "put":
            [path] = [path for path in self.directory.rglob(KEY) if path.is_file()]
            return path.read_bytes()
        return ((self.repository / "file") if self.client == "git-annex" else self.file).read_bytes()


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("way", ["put", "get"])
@pytest.mark.parametrize("server", ["ours", "git-annex"])
@pytest.mark.parametrize("client", ["ours", "git-annex"])
def test_a_killed_transfer_goes_on_where_it_was(
    annex_env: AnnexEnvironment, client: str, server: str, way: str
) -> None:
    side = Side(annex_env, client, server)
    side.have_content(on_the_server=way == "get")
    side.run_and_kill(way)
    side.run(way)
    assert 0 < side.offset(way) <= HALF
    assert side.arrived(way) == CONTENT
