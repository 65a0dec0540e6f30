"""Violations of the protocol: one class for this side, one for the other side.

`LocalProtocolError` is a bug in the program that uses this library. `RemoteProtocolError` is a line that the
other side was not allowed to send; it contains the reply that the protocol defines for it.
"""

from __future__ import annotations

__all__ = [
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
]


class ProtocolError(Exception):
    """Base of `LocalProtocolError` and `RemoteProtocolError`."""


class LocalProtocolError(ProtocolError):
    """The caller tried to send what the protocol does not allow now. Nothing was sent, and the state is unchanged."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what the protocol does not allow now.

    `reply` is the text of the ERROR to reply with (protocol-spec section 3), or None if no reply is possible.
    If `fatal` is true, the connection can only be closed; otherwise the conversation continues. `line` is the line if
    it is not a message at all, otherwise empty.
    """

    def __init__(self, problem: str, *, reply: str | None, fatal: bool = False, line: bytes = b"") -> None:
        super().__init__(problem)
        self.reply = reply
        self.fatal = fatal
        self.line = line
