"""The server's side of AUTH: nobody gets past here without a token (protocol-spec sections 4 and 13).

A client has one attempt. A wrong token is answered after a delay, and the connection is closed, so that a guess costs
a connection and seconds. Anything else than AUTH gets the ERROR that the table has for it, and the connection is
closed too. No token is ever logged, nor put into an error.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable

import trio

from p2pannex.access import Grant
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.pool import close
from p2pannex.protocol import messages as m
from p2pannex.protocol.errors import RemoteProtocolError

log = logging.getLogger(__name__)

DEADLINE = 30.0
"""Seconds within which a client must have sent all of its AUTH, after a TLS handshake if there is one."""

DELAY = 2.0
"""Seconds after which a wrong token is answered."""

Verify = Callable[[str], Grant | None]
"""What a token grants, or None. RemoteError where that cannot be found out: then nothing is granted."""


class NotAuthenticated(ConnectionLost):
    """The client was not let in. The connection is closed."""


async def authenticate(
    peer: Peer, uuid: str, verify: Verify, *, deadline: float = DEADLINE, delay: float = DELAY
) -> Grant:
    """Let a client in, as the server of repository `uuid`; what its token grants. Then the conversation is idle.

    NotAuthenticated, or another ConnectionLost where the client went away; the peer is closed, as it is when this is
    cancelled.
    """
    try:
        request = await _first_message(peer, deadline)
        grant = _granted(verify, request.token)
        if grant is None:
            await trio.sleep(delay)
            await peer.send(m.AuthFailure())
            raise NotAuthenticated(f"its token is not valid (it says it is {request.uuid[:64]!r})")
        await peer.send(m.AuthSuccess(uuid))
        return grant
    except BaseException:
        await close(peer)
        raise


async def _first_message(peer: Peer, deadline: float) -> m.Auth:
    with trio.move_on_after(deadline):
        try:
            message = await peer.receive(math.inf)
        except RemoteProtocolError as error:
            if error.reply is not None:
                with contextlib.suppress(ConnectionLost):
                    await peer.send(m.Error(error.reply))
            raise NotAuthenticated(f"no AUTH, but: {error}") from error
        if isinstance(message, m.Auth):
            return message
        raise NotAuthenticated("it left without AUTH")
    raise NotAuthenticated(f"no AUTH within {deadline:g} s")


def _granted(verify: Verify, token: str) -> Grant | None:
    try:
        return verify(token)
    except RemoteError as error:
        log.error("nobody can be let in: %s", error)
        return None
