"""Violations of the protocol, told apart by which side committed them.

`LocalProtocolError` is a bug in the program that uses this library. `RemoteProtocolError` is a line that the
far side should not have sent; it carries the reply that the protocol defines for it.
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
    """We tried to send what the protocol does not allow now. Nothing was sent, no state has moved."""


class RemoteProtocolError(ProtocolError):
    """The far side sent what the protocol does not allow now.

    `reply` is the text of the ERROR to answer with (protocol-spec section 3), or None where no answer can help.
    After `fatal` ones the connection can only be closed; after the others the conversation goes on.
    """

    def __init__(self, problem: str, *, reply: str | None, fatal: bool = False) -> None:
        super().__init__(problem)
        self.reply = reply
        self.fatal = fatal
