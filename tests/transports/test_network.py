"""P2P networks: a network of unix sockets, whose program is run for real."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from p2pannex.access import TokenFile
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_network_peer
from p2pannex.p2p.listen import Limits, serve_listeners
from p2pannex.p2p.remote import AuthenticationFailed, Remote
from p2pannex.protocol.messages import Auth
from p2pannex.stores.memory import MemoryStore
from p2pannex.transports import network
from p2pannex.transports.network import NetworkAddress, network_listener
from tests.support.waiting import until

PROGRAM = f'''#!{sys.executable}
"""A network whose addresses are unix sockets in a directory. It listens as git-annex wants it, or connects."""
import os, select, socket, sys, threading

directory, (name, *arguments) = os.path.dirname(os.path.abspath(sys.argv[0])), sys.argv[1:]
path = os.path.join(directory, name)

def relay(source, target, done):
    while data := os.read(source, 65536):
        while data:
            data = data[os.write(target, data):]
    done()

def bring(call, socket_path):
    with call, socket.socket(socket.AF_UNIX) as server:
        server.connect(socket_path)
        shut = lambda other: (lambda: other.shutdown(socket.SHUT_WR))
        back = threading.Thread(target=relay, args=(server.fileno(), call.fileno(), shut(call)))
        back.start()
        relay(call.fileno(), server.fileno(), shut(server))
        back.join()

with open(path + ".calls", "a") as calls:
    print(os.getpid(), os.getcwd(), *arguments, file=calls)
with socket.socket(socket.AF_UNIX) as sock:
    if arguments:
        if os.path.exists(path):
            os.unlink(path)
        sock.bind(path)
        sock.listen()
        while True:
            threading.Thread(target=bring, args=(sock.accept()[0], *arguments), daemon=True).start()
    sock.connect(path)
    shut = lambda: sock.shutdown(socket.SHUT_WR)
    threading.Thread(target=relay, args=(0, sock.fileno(), shut), daemon=True).start()
    relay(sock.fileno(), 1, lambda: None)
'''

ADDRESS = NetworkAddress("demo-1", "somewhere")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a network's program, on the PATH."""
    directory = tmp_path / "net"
    directory.mkdir()
    program = directory / "git-annex-p2p-demo-1"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


def calls(net: Path) -> list[list[str]]:
    path = net / "somewhere.calls"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


async def remote(token: str) -> Remote:
    dial = partial(open_network_peer, ADDRESS, timeout=60, capture_stderr=True)
    return await Remote.open(dial, credentials=Auth("a-client", token), timeout=60)


async def test_both_ends(net: Path, tmp_path: Path) -> None:
    store, tokens, key = MemoryStore(), TokenFile(tmp_path), Key.parse(b"WORM-s3--abc")
    token, _ = tokens.create()
    async with network_listener(ADDRESS, tmp_path) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_listeners, [listener], store, tokens=tokens, limits=Limits(delay=0.01)))
        await until((net / "somewhere").exists)
        async with await remote(token) as there:
            assert there.uuid == store.uuid
            assert not await there.check_present(key)
        with pytest.raises(AuthenticationFailed):
            await remote("wrong")
        nursery.cancel_scope.cancel()
    pid, directory, path = calls(net)[0]
    assert directory == str(tmp_path)
    assert not running(pid)
    assert not os.path.exists(os.path.dirname(path))
    with pytest.raises(ConnectionLost, match="git-annex-p2p-demo-1: failed"):
        await remote(token)


async def test_a_program_that_ends_is_started_again(
    net: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(network, "PAUSE", 0.01)
    async with network_listener(ADDRESS):
        await until(lambda: len(calls(net)) == 1)
        os.kill(int(calls(net)[0][0]), signal.SIGKILL)
        await until(lambda: len(calls(net)) == 2)
    assert "p2p-annex::demo-1:somewhere: git-annex-p2p-demo-1 was killed by signal 9" in caplog.text
    assert not running(calls(net)[1][0])


async def test_one_that_does_not_go_is_killed(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "GRACE", 0.05)
    (net / "git-annex-p2p-demo-1").write_text(
        f"#!{sys.executable}\nimport os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(net)!r} + '/somewhere.calls', 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(60)\n"
    )
    async with network_listener(ADDRESS):
        await until(lambda: bool(calls(net)))
    assert not running(calls(net)[0][0])


async def test_a_network_without_a_program() -> None:
    unknown = NetworkAddress("unknown", "somewhere")
    with pytest.raises(ConnectionLost, match=r"^git-annex-p2p-unknown: command not found$"):
        await open_network_peer(unknown)
    with pytest.raises(RemoteError, match="git-annex-p2p-unknown: command not found"):
        async with network_listener(unknown):
            pytest.fail("no connection would arrive here")


@pytest.mark.parametrize("net_name", ["", "a/b", "..", "A", "a b", "a_b", "a\n"])
def test_names_that_are_no_networks(net_name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        NetworkAddress(net_name, "somewhere")


@pytest.mark.parametrize("address", ["", "address", "-x", "a\nb", "a\0b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        NetworkAddress("demo-1", address)


def test_how_an_address_is_written() -> None:
    assert str(ADDRESS) == "p2p-annex::demo-1:somewhere"
    assert ADDRESS.program == "git-annex-p2p-demo-1"
