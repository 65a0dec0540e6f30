"""Servers on sockets that accept every token, and remember which one they were shown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from p2pannex.errors import READ_ONLY_ERROR
from p2pannex.gateways.directory.trial import TRIED_KEY

Reply = Callable[[bytes], bytes]


def no_reply(line: bytes) -> bytes:
    """The replies of a repository that has what is sent to it, and nothing else. It is read-only when it is tried."""
    if line.startswith(b"PUT") and TRIED_KEY.raw in line:
        return b"ERROR " + READ_ONLY_ERROR.encode() + b"\n"
    return {b"BYPASS": b"", b"PUT": b"ALREADY-HAVE\n"}.get(line.split()[0], b"FAILURE\n")


class TokenServer:
    """Listens on a TCP port of this machine until the test process ends. `shown` has the tokens of its clients."""

    def __init__(self, uuid: bytes, reply: Reply = no_reply) -> None:
        self.shown: list[str] = []
        self._uuid = uuid
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, client.makefile("rwb", 0) as stream:
            try:
                for line in stream:
                    if line.startswith(b"AUTH "):
                        self.shown.append(line.split()[2].decode())
                        stream.write(b"AUTH-SUCCESS " + self._uuid + b"\n")
                    elif line.startswith(b"VERSION"):
                        stream.write(b"VERSION 4\n")
                    else:
                        stream.write(self._reply(line))
            except OSError:
                pass  # the client has left
