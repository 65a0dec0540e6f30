"""git-annex's P2P protocol: a sans-IO state machine, one shape for stores, remotes and clusters, and programs.

The public names are here; the rooms they come from are the packages' folders. Names are loaded when they are first
used, so that a program which needs one room does not wait for the others (``p2pannex-shell`` greets its client before
it loads trio).
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for True; typing itself takes as long to load as Python
if TYPE_CHECKING:
    from p2pannex.drop import remove_while_locked as remove_while_locked
    from p2pannex.keys import InvalidKey as InvalidKey
    from p2pannex.keys import Key as Key
    from p2pannex.keys import key_for_file as key_for_file
    from p2pannex.peer import Peer as Peer
    from p2pannex.peer import StreamPeer as StreamPeer
    from p2pannex.protocol.connection import Connection as Connection
    from p2pannex.protocol.conversation import Side as Side
    from p2pannex.protocol.errors import ConnectionLost as ConnectionLost
    from p2pannex.protocol.errors import LocalProtocolError as LocalProtocolError
    from p2pannex.protocol.errors import RemoteError as RemoteError
    from p2pannex.protocol.errors import RemoteProtocolError as RemoteProtocolError
    from p2pannex.protocol.errors import Unsupported as Unsupported
    from p2pannex.remote import Remote as Remote
    from p2pannex.server import Mode as Mode
    from p2pannex.server import serve as serve
    from p2pannex.service import AlreadyHave as AlreadyHave
    from p2pannex.service import Download as Download
    from p2pannex.service import Lock as Lock
    from p2pannex.service import NotStored as NotStored
    from p2pannex.service import Removal as Removal
    from p2pannex.service import Service as Service
    from p2pannex.service import Stored as Stored
    from p2pannex.service import Upload as Upload
    from p2pannex.stores.directory import DirectoryStore as DirectoryStore
    from p2pannex.stores.memory import MemoryStore as MemoryStore
    from p2pannex.transfer import copy as copy
    from p2pannex.transfer import retrieve as retrieve
    from p2pannex.transfer import send as send
    from p2pannex.urls import open_url as open_url

_ROOMS = {
    "drop": ["remove_while_locked"],
    "keys": ["InvalidKey", "Key", "key_for_file"],
    "peer": ["Peer", "StreamPeer"],
    "protocol.connection": ["Connection"],
    "protocol.conversation": ["Side"],
    "protocol.errors": ["ConnectionLost", "LocalProtocolError", "RemoteError", "RemoteProtocolError", "Unsupported"],
    "remote": ["Remote"],
    "server": ["Mode", "serve"],
    "service": ["AlreadyHave", "Download", "Lock", "NotStored", "Removal", "Service", "Stored", "Upload"],
    "stores.directory": ["DirectoryStore"],
    "stores.memory": ["MemoryStore"],
    "transfer": ["copy", "retrieve", "send"],
    "urls": ["open_url"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = list(_ROOM_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'p2pannex' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"p2pannex.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
