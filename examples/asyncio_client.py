"""Fetch a key with asyncio. `Connection` checks and parses the messages; this program moves the bytes.

The server is `p2pannex serve DIR --listen tcp://HOST:PORT`; `p2pannex token create DIR` prints the token. FILE is
replaced once the content was verified. To use ssh, connect to the pipes of a process, and do not send AUTH.

    P2PANNEX_TOKEN=... python examples/asyncio_client.py HOST PORT KEY FILE
"""

import asyncio
import contextlib
import os
import sys
import uuid

from p2pannex import Connection, ConnectionLost, Key, RemoteError, Side
from p2pannex.protocol import NEED_DATA, PAUSED, ProtocolError, messages


async def feed(connection: Connection, reader: asyncio.StreamReader) -> None:
    data = await asyncio.wait_for(reader.read(65536), timeout=60)
    if not data:
        raise ConnectionLost("the server closed the connection")
    connection.receive_data(data)


async def fetch(host: str, port: int, token: str, key: Key, path: str) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer):
        connection, verifier = Connection(Side.CLIENT, authenticated=False), key.verifier()
        login, version = messages.Auth(str(uuid.uuid4()), token), messages.Version(messages.LATEST_VERSION)
        for request in (login, version, messages.CheckPresent(key), messages.Get(0, None, key)):
            writer.write(connection.send(request))
            while (reply := connection.next_event()) is NEED_DATA:
                await feed(connection, reader)
            if isinstance(reply, messages.AuthFailure | messages.Failure | messages.Error):
                raise RemoteError(f"the reply to {request.verb.decode()} was {reply.format().decode().strip()}")
        with open(path + ".part", "wb") as file:
            while connection.incoming:  # the reply to GET was DATA, which says how many bytes follow
                if not connection.buffered:
                    await feed(connection, reader)
                verifier.update(block := connection.take_body())
                file.write(block)
        while (verdict := connection.next_event()) is NEED_DATA:
            await feed(connection, reader)
        good = verdict in (messages.Valid(), PAUSED) and verifier.valid()  # PAUSED: version 0 has no VALID
        writer.write(connection.send(messages.Success() if good else messages.Failure()))
    if not good:
        raise RemoteError(f"the server did not send the content of {key}; what came is in {path}.part")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    if len(sys.argv) != 5 or "P2PANNEX_TOKEN" not in os.environ:
        sys.exit("usage: P2PANNEX_TOKEN=... python asyncio_client.py HOST PORT KEY FILE")
    try:
        asyncio.run(fetch(sys.argv[1], int(sys.argv[2]), os.environ["P2PANNEX_TOKEN"], Key(sys.argv[3]), sys.argv[4]))
    except (ValueError, OSError, RemoteError, ConnectionLost, ProtocolError) as error:
        sys.exit(f"asyncio_client.py: {type(error).__name__}: {error}")
