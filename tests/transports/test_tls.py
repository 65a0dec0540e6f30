"""TLS over real sockets, on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.dial import open_socket_peer
from p2pannex.transports.listeners import open_listeners, server_tls
from p2pannex.transports.sockets import UnixAddress
from p2pannex.transports.tls import TlsStream, client_tls
from tests.support.descriptors import open_descriptors
from tests.transports.connections import LOOPBACK, connected


class Certificates:
    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.chain = str(directory / "chain.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        certificate = self.authority.issue_cert("127.0.0.1", "annex.example")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.chain)
        self.server = server_tls(self.chain)
        self.client = client_tls(self.ca_file)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls_both_ways_and_a_goodbye(certificates: Certificates) -> None:
    [listener] = await open_listeners(LOOPBACK, tls=certificates.server)
    peer, stream = await connected(listener, certificates.client)
    await peer.stream.send_all(memoryview(b"ping"))
    assert await stream.receive_some(10) == b"ping"
    await stream.send_all(bytearray(b"pong"))
    assert await peer.stream.receive_some(10) == b"pong"
    assert isinstance(peer.stream, TlsStream)
    assert not peer.stream.at_end()
    await stream.aclose()
    await trio.lowlevel.wait_readable(peer.stream._transport._read_fd)
    assert peer.stream.at_end()
    assert await peer.stream.receive_some(10) == b""
    await peer.aclose()
    listener.close()


async def test_tls_over_a_unix_socket(tmp_path: Path, certificates: Certificates) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"), tls=certificates.server)
    peer, stream = await connected(listener, certificates.client, server_name="annex.example")
    await peer.aclose()
    assert await stream.receive_some() == b""
    await stream.aclose()
    with pytest.raises(ValueError, match="server_name"):
        await open_socket_peer(listener.address, tls=certificates.client)
    listener.close()


async def test_a_cut_tls_connection_is_no_goodbye(certificates: Certificates) -> None:
    [listener] = await open_listeners(LOOPBACK, tls=certificates.server)
    peer, stream = await connected(listener, certificates.client)
    assert isinstance(peer.stream, TlsStream)
    peer.stream._transport.close()
    with pytest.raises(trio.BrokenResourceError, match=r"\w"):
        await stream.receive_some(10)
    await peer.aclose()
    await stream.aclose()
    listener.close()


@pytest.mark.parametrize("case", ["unknown authority", "other host"])
async def test_a_certificate_that_is_not_valid(certificates: Certificates, case: str) -> None:
    [listener] = await open_listeners(LOOPBACK, tls=certificates.server)
    before = open_descriptors()

    async def accept() -> None:
        stream, _ = await listener.accept()
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            await stream.receive_some(1)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        tls, name = (client_tls(), None) if case == "unknown authority" else (certificates.client, "other.example")
        advice = r"issuer.*; to trust it, add \?ca=FILE to the URL" if name is None else "mismatch"
        with pytest.raises(ConnectionLost, match=rf"its certificate is not valid here: .*{advice}"):
            await open_socket_peer(listener.address, tls=tls, server_name=name)
    assert open_descriptors() == before
    listener.close()


async def test_a_server_without_tls(certificates: Certificates) -> None:
    [listener] = await open_listeners(LOOPBACK)

    async def accept() -> None:
        stream, _ = await listener.accept()
        await stream.send_all(b"ERROR unknown command\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        with pytest.raises(ConnectionLost, match=r"^cannot connect to 127\.0\.0\.1:\d+: [^\n]+$"):
            await open_socket_peer(listener.address, tls=certificates.client)
    listener.close()


async def test_a_server_that_says_nothing(certificates: Certificates) -> None:
    [listener] = await open_listeners(LOOPBACK)
    before = open_descriptors()
    with pytest.raises(ConnectionLost, match=r"no connection within 0\.1 s"):
        await open_socket_peer(listener.address, tls=certificates.client, timeout=0.1)
    assert open_descriptors() == before
    listener.close()


async def test_files_that_hold_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("missing", "empty"):
        with pytest.raises(OSError, match=r"No such file|these are not certificates") as caught:
            client_tls(str(tmp_path / name))
        assert caught.value.filename == str(tmp_path / name)
        with pytest.raises(RemoteError, match="cannot use the certificate "):
            server_tls(str(tmp_path / name))


async def test_a_tls_stream_keeps_trios_contract(tmp_path: Path, certificates: Certificates) -> None:
    [listener] = await open_listeners(UnixAddress(tmp_path / "s"), tls=certificates.server)

    async def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        peer, stream = await connected(listener, certificates.client, server_name="annex.example")
        return peer.stream, stream

    await trio.testing.check_two_way_stream(pair, None)
    listener.close()
