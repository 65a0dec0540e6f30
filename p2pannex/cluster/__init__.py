"""Many repositories as one: a `Cluster` is a Service over named nodes, and each node is any Service.

::

    nodes = [Node("attic", DirectoryStore("/srv/attic")), Node("server", remote, cost=200)]
    async with Cluster(uuid, nodes) as cluster:
        await serve(peer, cluster)

This package uses no protocol messages, files or sockets.
"""

from __future__ import annotations

from p2pannex.cluster.cluster import Cluster, Wanted
from p2pannex.cluster.node import Node

__all__ = ["Cluster", "Node", "Wanted"]
