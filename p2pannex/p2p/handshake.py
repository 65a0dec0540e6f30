"""The client's first messages on a connection, before any request (protocol-spec section 4)."""

from __future__ import annotations

import os

from p2pannex.errors import (
    APPEND_ONLY_ERROR,
    LIMITED_ERROR,
    READ_ONLY_ERROR,
    AccessDenied,
    ConnectionLost,
    RemoteError,
)
from p2pannex.p2p.peer import Peer
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import RemoteProtocolError


class WrongRepository(ConnectionLost):
    """The server's repository is not the expected one. No request was sent to it."""


class AuthenticationFailed(ConnectionLost):
    """The server requires a token and there is none, or it does not accept the token."""


QUOTED = 80
"""How many bytes of a line are quoted in an error."""


class NotAServer(ConnectionLost):
    """The first line that arrived, `line`, is not of the protocol."""

    def __init__(self, line: bytes) -> None:
        text = line.partition(b"\n")[0][:QUOTED].decode(errors="replace").strip()
        super().__init__(
            f"the server violated the protocol: its first line is {text!r}; if it is reached through ssh, a login "
            "script there probably prints that (.bashrc, .profile): let it print only if standard output is a terminal",
            permanent=True,
        )


async def handshake(
    peer: Peer,
    *,
    version: int = m.LATEST_VERSION,
    uuid: str | None = None,
    credentials: m.Auth | None = None,
    bypass: tuple[str, ...] = (),
) -> str:
    """Open a conversation: authenticate, agree on a version, and send `bypass`. Returns the UUID of the repository.

    `uuid` is the expected UUID, if it is known; for another one WrongRepository is raised.
    """
    if peer.conversation.state is State.AUTHENTICATION:
        if credentials is None:
            raise AuthenticationFailed("this server requires a token, and none was given")
        peer.queue(credentials)
    secret = credentials.token if credentials is not None else ""
    try:
        reply = await receive(peer)
    except ConnectionLost as error:
        if isinstance(error.__cause__, RemoteProtocolError) and error.__cause__.line:
            raise NotAServer(os.fsencode(_without(secret, os.fsdecode(error.__cause__.line)))) from error
        raise
    if isinstance(reply, m.Error):
        raise ConnectionLost(_without(secret, reply.message))
    if not isinstance(reply, m.AuthSuccess):
        raise AuthenticationFailed("the server does not accept this token")
    if uuid is not None and reply.uuid != uuid:
        raise WrongRepository(f"expected repository {uuid}, found {reply.uuid}")
    if version:
        await peer.send(m.Version(version))
        await receive(peer)  # an old server replies ERROR; the version then stays 0
    if bypass and peer.conversation.version >= 2:
        peer.queue(m.Bypass(bypass))
    return reply.uuid


def _without(secret: str, text: str) -> str:
    """`text` for an error. A server that sends the token back must not get it into the logs of this side."""
    return text.replace(secret, "[token]") if secret else text


def remote_error(text: str) -> RemoteError:
    """The error for an ERROR that the server sent."""
    return AccessDenied(text) if text in (READ_ONLY_ERROR, APPEND_ONLY_ERROR, LIMITED_ERROR) else RemoteError(text)


async def receive(peer: Peer, timeout: float | None = None) -> m.Message:
    """The server's next message. ConnectionLost if the connection ended, or if the server violated the protocol."""
    try:
        message = await peer.receive(timeout)
    except RemoteProtocolError as error:
        peer.poisoned = True
        raise ConnectionLost(f"the server violated the protocol: {error}", permanent=True) from error
    if message is None:
        peer.poisoned = True
        raise ConnectionLost("the server closed the connection")
    return message
