"""TLS: a client's settings, and a stream whose errors tell the reason."""

from __future__ import annotations

import contextlib
import errno
import ssl
from collections.abc import Iterator

import trio

from p2pannex.transports.connect_errors import reason
from p2pannex.transports.descriptor import DescriptorStream

GOODBYE = 5.0
"""Seconds that TLS may take to send its close message."""

TLS_READ = 64 * 1024
"""How many bytes to request from TLS at a time. It never returns more than a record, 16 KiB."""


def client_tls(ca_file: str | None = None) -> ssl.SSLContext:
    """A client's TLS settings. The server must have a certificate for its host name.

    An authority that this machine trusts must have signed it or, with `ca_file` (PEM), one in that file. OSError, with
    the name of the file, if it cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise OSError(errno.EINVAL, f"these are not certificates: {reason(error)}", ca_file) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, ca_file) from error


class TlsStream(trio.abc.Stream):
    """TLS over a stream. Unlike trio's own, its errors contain the reason, and closing is quick and never fails."""

    def __init__(
        self,
        transport: DescriptorStream,
        context: ssl.SSLContext,
        *,
        server_name: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._transport = transport
        # With this option, which some releases of Python set (3.11.2 is one), OpenSSL treats a connection that was cut
        # like one that was closed properly.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self._tls = trio.SSLStream(transport, context, server_hostname=server_name, server_side=server_side)
        self._handshake_done = False

    async def do_handshake(self) -> None:
        """Do the TLS handshake. The first send or receive does it otherwise."""
        with _tls_errors():
            await self._tls.do_handshake()
        self._handshake_done = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of `data`."""
        if not self._handshake_done:
            await self.do_handshake()
        with _tls_errors():
            await self._tls.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """At least one byte; empty if the other side has closed TLS. BrokenResourceError if the connection was cut."""
        if not self._handshake_done:
            await self.do_handshake()
        with _tls_errors():
            return await self._tls.receive_some(TLS_READ if max_bytes is None else min(max_bytes, TLS_READ))

    async def wait_send_all_might_not_block(self) -> None:
        await self._tls.wait_send_all_might_not_block()

    def at_end(self) -> bool:
        """As `DescriptorStream.at_end`, for the connection below TLS."""
        return self._transport.at_end()

    def hung_up(self) -> bool:
        """As `DescriptorStream.hung_up`, for the connection below TLS."""
        return self._transport.hung_up()

    async def aclose(self) -> None:
        """Send TLS's close message, if that is possible within GOODBYE, and close."""
        try:
            if self._handshake_done:
                with trio.move_on_after(GOODBYE):
                    await self._tls.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side has disconnected already
        finally:
            self._transport.close()
        await trio.lowlevel.checkpoint_if_cancelled()


@contextlib.contextmanager
def _tls_errors() -> Iterator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise trio.BrokenResourceError(reason(error)) from error
