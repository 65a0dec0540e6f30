"""Listening at a URL: `p2pannex.urls.listen_at`."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
import trustme

from p2pannex.access import TokenFile
from p2pannex.errors import RemoteError
from p2pannex.p2p.listen import serve_listeners
from p2pannex.stores.directory import DirectoryStore
from p2pannex.transports.listeners import SocketListener, server_tls
from p2pannex.url_syntax import InvalidURL
from p2pannex.urls import listen_at, open_url


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore.create(tmp_path / "store")


@asynccontextmanager
async def served(listeners: Mapping[str, SocketListener], store: DirectoryStore) -> AsyncIterator[str]:
    """The token of the store, which is served while the block runs."""
    token, _ = TokenFile(store.path).create()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, list(listeners.values()), store, tokens=TokenFile(store.path)))
        yield token
        nursery.cancel_scope.cancel()


async def test_a_unix_socket(store: DirectoryStore, tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/socket"
    async with listen_at(url) as listeners:
        assert list(listeners) == [url]
        async with served(listeners, store) as token, await open_url(url, token=token) as service:
            assert service.uuid == store.uuid
    assert not (tmp_path / "socket").exists()


async def test_a_tcp_socket_with_any_port(store: DirectoryStore) -> None:
    async with listen_at("tcp://127.0.0.1:0") as listeners:
        (url,) = listeners
        assert url.startswith("tcp://127.0.0.1:")
        assert not url.endswith(":0")
        async with served(listeners, store) as token, await open_url(url, token=token) as service:
            assert service.uuid == store.uuid


async def test_tls(store: DirectoryStore, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    async with listen_at("tls://127.0.0.1:0", tls=server_tls(str(tmp_path / "cert.pem"))) as listeners:
        (url,) = listeners
        assert url.startswith("tls://127.0.0.1:")
        async with (
            served(listeners, store) as token,
            await open_url(f"{url}?ca={quote(str(tmp_path / 'ca.pem'))}", token=token) as service,
        ):
            assert service.uuid == store.uuid


async def test_a_p2p_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's program runs where it was told to, and gets the address and a socket that connections reach."""
    program = tmp_path / "git-annex-p2p-net"
    program.write_text(
        f'#!/bin/sh\necho "$PWD $1 $2" >{tmp_path}/new\nmv {tmp_path}/new {tmp_path}/run\nexec sleep 60\n'
    )
    program.chmod(0o755)
    (tmp_path / "top").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    url = "p2p-annex::net:some.where"
    async with listen_at(url, directory=tmp_path / "top") as listeners:
        ((shown, listener),) = listeners.items()
        assert shown == url
        with trio.fail_after(50):
            while not (tmp_path / "run").exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
        directory, address, path = (tmp_path / "run").read_text().split()
        assert (directory, address) == (str(tmp_path / "top"), "some.where")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            stream, _ = await listener.accept()
            await stream.aclose()
    assert not os.path.exists(path)


async def test_an_error_in_the_block_closes_the_listeners(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with listen_at(f"unix:{tmp_path}/socket"):
            raise ZeroDivisionError
    assert not (tmp_path / "socket").exists()


@pytest.mark.parametrize("url", ["/srv/store", "ssh://host/dir", "exec:program"])
async def test_a_url_at_which_nothing_listens(url: str) -> None:
    with pytest.raises(InvalidURL, match=r"cannot listen at .*; write unix:PATH, tcp://HOST:PORT"):
        async with listen_at(url):
            pass


async def test_tls_without_a_certificate() -> None:
    with pytest.raises(InvalidURL, match="tls://localhost:0: listening there needs a certificate"):
        async with listen_at("tls://localhost:0"):
            pass


async def test_where_another_server_listens(tmp_path: Path) -> None:
    async with listen_at(f"unix:{tmp_path}/socket"):
        with pytest.raises(RemoteError, match="another server listens there"):
            async with listen_at(f"unix:{tmp_path}/socket"):
                pass
