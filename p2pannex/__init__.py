"""git-annex's P2P protocol: a sans-IO state machine, one interface for stores, remotes and clusters, and two programs.

This module exports the public names; the code is in the folders beside it. A name is imported when it is first used, so
a program that needs one part does not load the others (``p2pannex-shell`` sends AUTH-SUCCESS before it imports trio).
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for True; importing typing would take as long as starting Python
if TYPE_CHECKING:
    from p2pannex.access import Mode as Mode
    from p2pannex.cluster.cluster import Cluster as Cluster
    from p2pannex.cluster.node import Node as Node
    from p2pannex.errors import ConnectionLost as ConnectionLost
    from p2pannex.errors import RemoteError as RemoteError
    from p2pannex.errors import Unsupported as Unsupported
    from p2pannex.errors import WrongContent as WrongContent
    from p2pannex.keys.key import InvalidKey as InvalidKey
    from p2pannex.keys.key import Key as Key
    from p2pannex.p2p.listen import serve_listeners as serve_listeners
    from p2pannex.p2p.peer import Peer as Peer
    from p2pannex.p2p.remote import Remote as Remote
    from p2pannex.p2p.server import serve as serve
    from p2pannex.p2p.stdio import serve_stdio as serve_stdio
    from p2pannex.p2p.stream_peer import StreamPeer as StreamPeer
    from p2pannex.protocol.connection import Connection as Connection
    from p2pannex.protocol.conversation import Side as Side
    from p2pannex.protocol.errors import LocalProtocolError as LocalProtocolError
    from p2pannex.protocol.errors import RemoteProtocolError as RemoteProtocolError
    from p2pannex.service import AlreadyHave as AlreadyHave
    from p2pannex.service import DirectBody as DirectBody
    from p2pannex.service import Download as Download
    from p2pannex.service import FileRange as FileRange
    from p2pannex.service import Lock as Lock
    from p2pannex.service import NotLocked as NotLocked
    from p2pannex.service import NotStored as NotStored
    from p2pannex.service import Removal as Removal
    from p2pannex.service import Service as Service
    from p2pannex.service import Stored as Stored
    from p2pannex.service import Upload as Upload
    from p2pannex.stores.annex.store import AnnexStore as AnnexStore
    from p2pannex.stores.directory import DirectoryStore as DirectoryStore
    from p2pannex.stores.external.store import ExternalStore as ExternalStore
    from p2pannex.stores.memory import MemoryStore as MemoryStore
    from p2pannex.system.disk_work import Batched as Batched
    from p2pannex.system.disk_work import DiskWork as DiskWork
    from p2pannex.system.disk_work import Inline as Inline
    from p2pannex.system.disk_work import InThreads as InThreads
    from p2pannex.transfer.copying import copy as copy
    from p2pannex.transfer.drop import remove_while_locked as remove_while_locked
    from p2pannex.transfer.errors import NotPresent as NotPresent
    from p2pannex.transfer.errors import NotStoredError as NotStoredError
    from p2pannex.transfer.file_keys import key_for_file as key_for_file
    from p2pannex.transfer.progress import Transferred as Transferred
    from p2pannex.transfer.transfer import retrieve as retrieve
    from p2pannex.transfer.transfer import send as send
    from p2pannex.urls import listen_at as listen_at
    from p2pannex.urls import open_url as open_url

_MODULES = {
    "access": ["Mode"],
    "cluster.cluster": ["Cluster"],
    "cluster.node": ["Node"],
    "errors": ["ConnectionLost", "RemoteError", "Unsupported", "WrongContent"],
    "keys.key": ["InvalidKey", "Key"],
    "p2p.listen": ["serve_listeners"],
    "p2p.peer": ["Peer"],
    "p2p.remote": ["Remote"],
    "p2p.server": ["serve"],
    "p2p.stdio": ["serve_stdio"],
    "p2p.stream_peer": ["StreamPeer"],
    "protocol.connection": ["Connection"],
    "protocol.conversation": ["Side"],
    "protocol.errors": ["LocalProtocolError", "RemoteProtocolError"],
    "service": [
        "AlreadyHave",
        "DirectBody",
        "Download",
        "FileRange",
        "Lock",
        "NotLocked",
        "NotStored",
        "Removal",
        "Service",
        "Stored",
        "Upload",
    ],
    "stores.annex.store": ["AnnexStore"],
    "stores.directory": ["DirectoryStore"],
    "stores.external.store": ["ExternalStore"],
    "stores.memory": ["MemoryStore"],
    "system.disk_work": ["Batched", "DiskWork", "InThreads", "Inline"],
    "transfer.copying": ["copy"],
    "transfer.drop": ["remove_while_locked"],
    "transfer.errors": ["NotPresent", "NotStoredError"],
    "transfer.file_keys": ["key_for_file"],
    "transfer.progress": ["Transferred"],
    "transfer.transfer": ["retrieve", "send"],
    "urls": ["listen_at", "open_url"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = list(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'p2pannex' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"p2pannex.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
