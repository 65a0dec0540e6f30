"""What can go wrong in a conversation, told apart by whose fault it is.

`LocalProtocolError` is a bug in the program that uses this library. `RemoteProtocolError` is a line that the
far side should not have sent; it carries the answer that the protocol foresees. `RemoteError` is the far side's
own ERROR message: the request failed, the conversation goes on. `ConnectionLost` ends the conversation.
"""

from __future__ import annotations

__all__ = [
    "ConnectionLost",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteError",
    "RemoteProtocolError",
    "Unsupported",
]


class ProtocolError(Exception):
    """Base of the two ways to break the law: `LocalProtocolError` and `RemoteProtocolError`."""


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


class RemoteError(Exception):
    """The service answered with ERROR, or (a local one) would have: the request failed, others may follow."""


class Unsupported(RemoteError):
    """The service cannot do this at all: its protocol version is too low, or it has nothing behind it to do it with."""


class ConnectionLost(Exception):
    """The connection ended, stalled past its deadline, or was left in the middle of something."""
