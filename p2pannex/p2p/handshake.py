"""The client's first words on a connection, until requests may follow (protocol-spec section 4)."""

from __future__ import annotations

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import Peer
from p2pannex.protocol import messages as m
from p2pannex.protocol.conversation import State
from p2pannex.protocol.errors import RemoteProtocolError


class WrongRepository(ConnectionLost):
    """Another repository answered than the one that was asked for. Nothing was said to it."""


class AuthenticationFailed(ConnectionLost):
    """The server does not accept our token."""


async def handshake(
    peer: Peer,
    *,
    version: int = m.LATEST_VERSION,
    uuid: str | None = None,
    credentials: m.Auth | None = None,
    bypass: tuple[str, ...] = (),
) -> str:
    """Open a conversation (protocol-spec section 4): authenticate, agree on a version. The server's UUID.

    `uuid` is the one expected, where it is known: another raises WrongRepository.
    """
    if peer.conversation.state is State.AUTHENTICATION:
        if credentials is None:
            raise AuthenticationFailed("this server wants a token, and there is none for it")
        peer.queue(credentials)
    answer = await receive(peer)
    if isinstance(answer, m.Error):
        raise ConnectionLost(answer.message)
    if not isinstance(answer, m.AuthSuccess):
        raise AuthenticationFailed("the server does not accept this token")
    if uuid is not None and answer.uuid != uuid:
        raise WrongRepository(f"expected repository {uuid}, found {answer.uuid}")
    if version:
        await peer.send(m.Version(version))
        await receive(peer)  # an old server answers ERROR: then the version stays 0
    if bypass and peer.conversation.version >= 2:
        peer.queue(m.Bypass(bypass))
    return answer.uuid


async def receive(peer: Peer, timeout: float | None = None) -> m.Message:
    """The server's next message. ConnectionLost where it is gone, or makes no sense."""
    try:
        message = await peer.receive(timeout)
    except RemoteProtocolError as error:
        peer.poisoned = True
        raise ConnectionLost(f"the server broke the protocol: {error}") from error
    if message is None:
        peer.poisoned = True
        raise ConnectionLost("the server closed the connection")
    return message
