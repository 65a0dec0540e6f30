"""The rules of the P2P protocol, sans-IO: nothing here imports trio, os or a clock."""

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.protocol.connection import CLOSED, NEED_DATA, PAUSED, Connection, Wait
from p2pannex.protocol.conversation import TABLE, Conversation, Side, State
from p2pannex.protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import LATEST_VERSION, MAX_LINE, MESSAGES, Message, parse_message

__all__ = [
    "CLOSED",
    "LATEST_VERSION",
    "MAX_LINE",
    "MESSAGES",
    "NEED_DATA",
    "PAUSED",
    "TABLE",
    "Connection",
    "ConnectionLost",
    "Conversation",
    "LocalProtocolError",
    "Message",
    "ProtocolError",
    "RemoteError",
    "RemoteProtocolError",
    "Side",
    "State",
    "Unsupported",
    "Wait",
    "parse_message",
]
