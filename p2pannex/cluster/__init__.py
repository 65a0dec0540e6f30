"""Many repositories as one: a `Cluster` is a Service over named nodes, each of them any Service.

::

    nodes = [Node("attic", DirectoryStore("/srv/attic")), Node("server", remote, cost=200)]
    async with Cluster(uuid, nodes) as cluster:
        await serve(peer, cluster)

Nothing here knows a word of the protocol, a file or a socket.
"""

from __future__ import annotations

from p2pannex.cluster.cluster import Cluster, Wanted
from p2pannex.cluster.node import Node

__all__ = ["Cluster", "Node", "Wanted"]
