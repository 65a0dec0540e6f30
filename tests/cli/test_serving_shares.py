"""`p2pannex serve` under clients that want everything: connections, descriptors, memory. Real programs and sockets."""

from __future__ import annotations

import functools
import os
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from p2pannex.transports.pump import BLOCK
from tests.cli.running import P2PANNEX, run


@contextmanager
def serving(store: str, sock: str, *options: str, soft: int, hard: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is started with these limits of descriptors."""
    child = subprocess.Popen(
        [*P2PANNEX, "serve", store, "--listen", f"unix:{sock}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard)),
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield child
    finally:
        child.terminate()
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 0
    assert b"Traceback" not in errors


def connect(stack: ExitStack, sock: str, token: str) -> tuple[socket.socket, bytes]:
    """A connection, and the server's reply to AUTH."""
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.settimeout(30)
    client.connect(sock)
    client.sendall(f"AUTH client {token}\n".encode())
    return client, client.recv(200)


def memory(child: subprocess.Popen[bytes]) -> int:
    """Bytes of memory that the process has now."""
    found = re.search(r"^RssAnon:\s*(\d+) kB$", Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture
def sock(tmp_path: Path) -> str:
    return str(tmp_path / "sock")


def test_one_token_does_not_take_all_places_nor_descriptors(store: str, sock: str) -> None:
    """The server is started with 64 descriptors, of which it may have 2000: it raises its own limit."""
    greedy = run("token", "create", store, "--mode", "read-only").stdout.strip()
    other = run("token", "create", store).stdout.strip()
    with serving(store, sock, soft=64, hard=2000), ExitStack() as stack:
        replies = [connect(stack, sock, greedy)[1] for _ in range(120)]
        let_in = [reply for reply in replies if reply.startswith(b"AUTH-SUCCESS ")]
        assert 25 <= len(let_in) <= 60
        assert {reply[:28] for reply in replies if reply not in let_in} == {b"ERROR too many connections: "}
        assert connect(stack, sock, other)[1].startswith(b"AUTH-SUCCESS ")


def test_the_options_of_the_shares(store: str, sock: str) -> None:
    token = run("token", "create", store).stdout.strip()
    other = run("token", "create", store).stdout.strip()
    options = ["--connections", "20", "--per-token", "2", "--per-address", "3", "--memory", "8"]
    with serving(store, sock, *options, soft=1024, hard=1024), ExitStack() as stack:
        assert [connect(stack, sock, token)[1][:12] for _ in range(3)] == [b"AUTH-SUCCESS"] * 2 + [b"ERROR too ma"]
        assert [connect(stack, sock, other)[1][:12] for _ in range(2)] == [b"AUTH-SUCCESS", b"ERROR too ma"]


def test_few_descriptors_mean_few_connections(store: str, sock: str) -> None:
    token = run("token", "create", store).stdout.strip()
    with serving(store, sock, soft=100, hard=100) as child, ExitStack() as stack:
        replies = {connect(stack, sock, token)[1][:12] for _ in range(50)}
        assert replies == {b"AUTH-SUCCESS", b"ERROR too ma"}
        assert child.stderr is not None
        assert b"allows 7 connections instead of 1000; raise it to 8132" in child.stderr.readline()


def test_stalled_uploads_take_little_memory(store: str, sock: str) -> None:
    token = run("token", "create", store).stdout.strip()
    with serving(store, sock, soft=1024, hard=4096) as child, ExitStack() as stack:
        clients = []
        before = 0
        for number in range(61):
            client, reply = connect(stack, sock, token)
            assert reply.startswith(b"AUTH-SUCCESS ")
            client.sendall(b"PUT  WORM-s%d-m1--f%d\n" % (10 * BLOCK, number))
            assert client.recv(100) == b"PUT-FROM 0\n"
            client.sendall(b"DATA %d\n" % (10 * BLOCK))
            client.sendall(bytes(BLOCK + 100_000))
            clients.append(client)
            if not number:
                time.sleep(0.5)
                before = memory(child)
        time.sleep(0.5)
        assert memory(child) - before < 60 << 20, "each had four MiB"
        assert os.path.isdir(store)
