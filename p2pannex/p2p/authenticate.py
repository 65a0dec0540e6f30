"""The server's side of AUTH: only clients with a valid token are accepted (protocol-spec sections 4 and 13).

A client has one attempt. The server replies to a wrong token after a delay and closes the connection, so that each
guess costs a connection and some seconds. To anything but AUTH it replies with the ERROR that the state table has for
it, and closes as well. Tokens appear neither in logs nor in errors.

AUTH-FAILURE means that the token is wrong. If the server cannot verify the token at the moment, or has no connection
left for it, the reply is ERROR with the reason.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import NoReturn

import trio

from p2pannex.access import INVALID, Grant
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.pool import close
from p2pannex.protocol import messages as m
from p2pannex.protocol.errors import RemoteProtocolError

log = logging.getLogger(__name__)

DEADLINE = 30.0
"""Seconds within which a client must have sent all of its AUTH, the TLS handshake (if any) included."""

DELAY = 2.0
"""Seconds before the server replies to a wrong token."""

Verify = Callable[[str], Grant | None]
"""Returns what a token grants, or None. RemoteError if that cannot be determined; the client then gets ERROR."""

CANNOT_VERIFY = "the server cannot verify tokens at the moment; try again later"
"""The ERROR that a client gets then. The reason is in the server's log: a client without a token need not know it."""


class NotAuthenticated(ConnectionLost):
    """The client was not accepted. The connection is closed."""


async def authenticate(
    peer: Peer,
    uuid: str,
    verify: Verify,
    *,
    deadline: float = DEADLINE,
    delay: float = DELAY,
    refusal: Callable[[str], str] = lambda token: INVALID,
    admit: Callable[[Grant], object] = lambda grant: None,
) -> Grant:
    """Authenticate a client, as the server of repository `uuid`. Returns what its token grants; requests may follow.

    `deadline` and `delay` are in seconds. `refusal` returns why `verify` did not accept a token, for the error's text;
    the client does not learn it. `admit` is called with what a valid token grants; if it raises RemoteError, the client
    gets that as ERROR. NotAuthenticated if the client is not accepted; another ConnectionLost if it disconnects. The
    peer is closed in both cases, and if this is cancelled.
    """
    try:
        request = await _first_message(peer, deadline)
        try:
            grant = verify(request.token)
        except RemoteError as error:
            log.error("no client can be accepted: %s", error)
            await _refuse(peer, CANNOT_VERIFY)
        if grant is None:
            await trio.sleep(delay)
            await peer.send(m.AuthFailure())
            raise NotAuthenticated(f"{_why(refusal, request.token)} (it sent the UUID {request.uuid[:64]!r})")
        try:
            admit(grant)
        except RemoteError as error:
            await _refuse(peer, str(error), f"token {grant.id}: ")
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
            raise NotAuthenticated(f"it did not send AUTH: {error}") from error
        if isinstance(message, m.Auth):
            return message
        raise NotAuthenticated("it disconnected without AUTH")
    raise NotAuthenticated(f"no AUTH within {deadline:g} s")


async def _refuse(peer: Peer, why: str, prefix: str = "") -> NoReturn:
    with contextlib.suppress(ConnectionLost):
        await peer.send(m.Error(why))
    raise NotAuthenticated(prefix + why)


def _why(refusal: Callable[[str], str], token: str) -> str:
    try:
        return refusal(token)
    except RemoteError:
        return "its token could not be verified again"
