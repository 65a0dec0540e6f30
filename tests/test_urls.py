"""URLs: what each says, what is wrong with the others, and that each kind is opened for real."""

import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
import trustme

import p2pannex
from p2pannex.access import TokenFile
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.p2p.listen import serve_listeners
from p2pannex.p2p.remote import AuthenticationFailed, WrongRepository
from p2pannex.server_tokens import save_token
from p2pannex.stores.directory import DirectoryStore, NotAStore
from p2pannex.transports.listeners import open_listeners, server_tls
from p2pannex.transports.process import ProcessEnded
from p2pannex.transports.sockets import TcpAddress, UnixAddress
from p2pannex.url_syntax import (
    InvalidURL,
)
from p2pannex.urls import open_url

KEY = Key.parse(b"WORM-s3--abc")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GIT_SSH", "GIT_SSH_COMMAND", "P2PANNEX_REMOTE_SHELL", "P2PANNEX_TOKEN", "GIT_ANNEX_P2P_AUTHTOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("P2PANNEX_TOKENS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


async def test_a_directory_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = DirectoryStore.create(tmp_path / "store").uuid
    async with await open_url(str(tmp_path / "store")) as service:
        assert service.uuid == uuid
    monkeypatch.chdir(tmp_path)
    async with await open_url("store") as service:
        assert service.uuid == uuid


async def test_a_directory_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="is its disk mounted"):
        await open_url(str(tmp_path))
    with pytest.raises(NotAStore):
        await open_url(str(tmp_path / "nosuch"))
    with pytest.raises(InvalidURL, match=r"no/host:dir: there is no such directory; write .*ssh://"):
        await open_url("no/host:dir")


@pytest.mark.parametrize("options", [[], ["--bare"]])
async def test_a_git_repository_that_is_none_of_git_annex(tmp_path: Path, options: list[str]) -> None:
    subprocess.run(["git", "init", "-q", *options, str(tmp_path / "a b")], check=True)
    with pytest.raises(RemoteError, match=r"/a b has no annex\.uuid; git annex init gives"):
        await open_url(str(tmp_path / "a b"))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore.create(tmp_path / "the store")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> str:
    """p2pannex-shell, as a command."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(p2pannex.__file__)))
    return f"{sys.executable} -m p2pannex.cli.shell.main"


async def test_a_command_is_run(store: DirectoryStore, shell: str) -> None:
    async with await open_url(f"exec:{shell} p2pstdio '{os.fsdecode(store.path)}' x") as service:
        assert service.uuid == store.uuid
        assert not await service.check_present(KEY)
        assert await service.timestamp() > 0
    async with await open_url(f"exec:{shell} p2pstdio '{os.fsdecode(store.path)}' x", version=0) as service:
        with pytest.raises(RemoteError, match="needs protocol version 3"):
            await service.timestamp()


async def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(ProcessEnded, match=r"^no-such-program: command not found$"):
        await open_url("exec:no-such-program x")


async def test_ssh_is_run(store: DirectoryStore, shell: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "ssh"
    fake.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(fake))
    monkeypatch.setenv("P2PANNEX_REMOTE_SHELL", shell)
    url = "ssh://host" + os.fsdecode(store.path).replace(" ", "%20")
    async with await open_url(url) as service:
        assert service.uuid == store.uuid
        assert not await service.check_present(KEY)
    with pytest.raises(ProcessEnded, match="expected repository UUID elsewhere but found UUID"):
        await open_url(url + "?uuid=elsewhere", capture_stderr=True)
    monkeypatch.setenv("P2PANNEX_REMOTE_SHELL", "echo AUTH-SUCCESS another; :")
    with pytest.raises(WrongRepository, match=f"expected repository {store.uuid}, found another"):
        await open_url(f"{url}?uuid={store.uuid}")


@pytest.fixture
async def serving(store: DirectoryStore, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[tuple[str, str, str]]:
    """The store on a unix, a TCP and a TLS socket: their URLs, each with its token in the same order."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    listeners = [
        *await open_listeners(UnixAddress(str(tmp_path / "s"))),
        *await open_listeners(TcpAddress("127.0.0.1", 0)),
        *await open_listeners(TcpAddress("127.0.0.1", 0), tls=server_tls(str(tmp_path / "cert.pem"))),
    ]
    await nursery.start(functools.partial(serve_listeners, listeners, store, tokens=TokenFile(store.path)))
    tcp, tls = (listener.address.port for listener in listeners[1:] if isinstance(listener.address, TcpAddress))
    ca = quote(str(tmp_path / "ca.pem"))
    yield f"unix:{tmp_path}/s", f"tcp://127.0.0.1:{tcp}", f"tls://localhost:{tls}?ca={ca}"
    nursery.cancel_scope.cancel()


async def test_sockets_are_connected_to(
    store: DirectoryStore, serving: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = TokenFile(store.path).create()
    for url in serving:
        async with await open_url(url, token=token) as service:
            assert service.uuid == store.uuid
            assert not await service.check_present(KEY)
        monkeypatch.setenv("P2PANNEX_TOKENS", f"{url} {token}\n")
        async with await open_url(url) as service:
            assert service.uuid == store.uuid
        monkeypatch.delenv("P2PANNEX_TOKENS")
        save_token(url, token)
        async with await open_url(url) as service:
            assert service.uuid == store.uuid


async def test_a_token_for_another_server_is_not_sent(
    serving: tuple[str, str, str], store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = TokenFile(store.path).create()
    monkeypatch.setenv("P2PANNEX_TOKEN", token)  # it names no server
    monkeypatch.setenv("GIT_ANNEX_P2P_AUTHTOKEN", token)
    save_token("unix:/another", token)
    save_token("tcp://localhost:1", token)
    monkeypatch.setenv("P2PANNEX_TOKENS", serving[1].replace("tcp:", "tls:") + f" {token}")
    for url in serving:
        with pytest.raises(AuthenticationFailed, match="none was given"):
            await open_url(url)


async def test_sockets_want_a_token(serving: tuple[str, str, str]) -> None:
    with pytest.raises(AuthenticationFailed, match="requires a token"):
        await open_url(serving[0])
    with pytest.raises(AuthenticationFailed, match="does not accept this token"):
        await open_url(serving[0], token="wrong")
    with pytest.raises(InvalidURL, match="letters and digits only") as caught:
        await open_url(serving[0], token="hun ter2\n")
    assert "ter2" not in str(caught.value)


async def test_a_socket_without_a_listener(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match=r"cannot connect to unix:.*No such file"):
        await open_url(f"unix:{tmp_path}/nosuch", token="x")
    with pytest.raises(FileNotFoundError, match="nosuch"):
        await open_url(f"tls://localhost:1?ca={tmp_path}/nosuch", token="x")


async def test_the_token_for_a_p2p_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it is taken, what comes later before what was there; the network's program notes what it is told."""
    program = tmp_path / "git-annex-p2p-net"
    program.write_text(f'#!/bin/sh\nread line\necho "$line" >{tmp_path}/shown\necho AUTH-FAILURE\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["git", "init", "-q", tmp_path / "repository"], check=True)
    monkeypatch.chdir(tmp_path / "repository")

    async def shown(token: str | None = None) -> str:
        with pytest.raises(AuthenticationFailed):
            await open_url("p2p-annex::net:some.where", token=token, client_uuid="me", capture_stderr=True)
        return (tmp_path / "shown").read_text()

    with pytest.raises(AuthenticationFailed, match="none was given"):
        await open_url("p2p-annex::net:some.where")
    creds = Path(".git/annex/creds")
    creds.mkdir(parents=True)
    (creds / "net%3Asome%2Ewhere").write_text("kept")
    assert await shown() == "AUTH me kept\n"
    save_token("p2p-annex::net:some.where", "saved")
    assert await shown() == "AUTH me saved\n"
    monkeypatch.setenv("P2PANNEX_TOKENS", "p2p-annex::net:some.where variable")
    assert await shown() == "AUTH me variable\n"
    assert await shown("given") == "AUTH me given\n"
