"""Which repositories a gateway repository serves besides itself: git-annex's rules, as documented and as observed.

A client requests a repository with ``--uuid``. The gateway serves it only if two places allow it. The first is
proxy.log in the branch, which lists what this repository serves (``git annex updateproxy`` and ``updatecluster`` write
it). But every account with push access can write to the branch. So the second is this repository's own git config:

- for a remote: ``annex-proxy``, or ``annex-cluster-node`` with the name of a cluster that is configured here
  (annex.cluster.NAME);
- for a repository behind another gateway, which proxy.log lists for that gateway: ``annex-cluster-gateway`` of the
  remote that is the gateway, set by ``git annex extendcluster``;
- for a cluster: annex.cluster.NAME.

The nodes of a cluster are the repositories in cluster.log that one of the first two settings allows *for that cluster*.
annex-ignore has no effect here: it is about the transfers that this repository starts itself.

Difference from git-annex: if a cluster is in proxy.log but not configured here, git-annex serves it as a cluster
without nodes, and so reports all content of the cluster as absent. We refuse the request.
"""

from __future__ import annotations

from p2pannex.git_annex.remotes import GitRemote, configured_clusters, git_remotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class NotServed(Exception):
    """This repository does not serve the one that was requested. The message is one line."""


class Route:
    """How to reach a repository: it is `remote`, or it is behind the gateway that `remote` is.

    `name` is the repository's name here. `gateway` is the UUID of the gateway; None if the repository is `remote`.
    """

    def __init__(self, uuid: str, name: str, remote: GitRemote, gateway: str | None = None) -> None:
        self.uuid = uuid
        self.name = name
        self.remote = remote
        self.gateway = gateway

    def _parts(self) -> tuple[object, ...]:
        return self.uuid, self.name, self.remote, self.gateway

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Route) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.uuid, self.gateway))

    def __repr__(self) -> str:
        return f"<Route to {self.name} {self.uuid}>"


class Rules:
    """What the repository `own` serves, by its git config `values` and the two parsed logs.

    `client` is the UUID of the client that sends the request. A gateway gets no request for what it can reach only
    through us, and the client gets none at all. Otherwise gateways with outdated logs would send each other a request
    in a circle, each time over a new connection. (`Cluster` and `ProxiedRemote` send BYPASS for this, but git-annex
    does not pass it on when it proxies for a single repository.)
    """

    def __init__(
        self,
        own: str,
        values: Mapping[str, str],
        proxies: Mapping[str, Mapping[str, str]],
        clusters: Mapping[str, tuple[str, ...]],
        client: str | None = None,
    ) -> None:
        self.own = own
        self.remotes = git_remotes(values)
        self.configured = configured_clusters(values)
        self._proxies = proxies
        self._clusters = clusters
        self._listed = proxies.get(own, {})
        self._client = client

    def is_cluster(self, uuid: str) -> bool:
        """Whether `uuid` is a cluster that is served here."""
        return uuid in self._listed and uuid in self._clusters and uuid in self.configured.values()

    def members(self, cluster: str) -> frozenset[str]:
        """The nodes of the cluster, wherever they are."""
        return frozenset(self._clusters.get(cluster, ()))

    def nodes(self, cluster: str) -> list[Route]:
        """The routes to the nodes of the cluster, as far as they are served.

        If a node has direct routes, only those count: other gateways may list the node just because we serve it.
        """
        names = {name for name, uuid in self.configured.items() if uuid == cluster}
        found: list[Route] = []
        for node in self._clusters.get(cluster, ()):
            routes = self._routes(node) if node in self._listed else []
            direct = [
                route for route in routes if route.gateway is None and names.intersection(route.remote.cluster_nodes)
            ]
            found += direct or [route for route in routes if route.gateway and cluster in route.remote.cluster_gateways]
        return found

    def whole(self, cluster: str, gateway: str) -> Route | None:
        """The route to all nodes of the cluster behind a gateway at once, for content that goes to each of them.

        None if the gateway may reach a node that we reach by another route as well: that node would get the content
        twice.
        """
        served = self._proxies.get(gateway, {})
        gateways = [remote for remote in self.remotes if remote.uuid == gateway and cluster in remote.cluster_gateways]
        if not gateways or cluster not in served:
            return None
        for route in self.nodes(cluster):
            if route.gateway != gateway and route.uuid in served and not self._through_us(gateway, route.uuid):
                return None
        return Route(cluster, gateways[0].name, gateways[0], gateway)

    def node(self, uuid: str) -> Route:
        """The route to a repository that a client requests by its own UUID. NotServed if the client may not use it."""
        if uuid in self._clusters and uuid in self._listed:
            raise NotServed(f"not configured to be a gateway of the cluster {self._listed[uuid]}")
        routes = self._routes(uuid)
        if uuid in self._listed:
            for route in routes:
                if route.gateway is not None:
                    return route
                if route.remote.proxied or not self.configured.keys().isdisjoint(route.remote.cluster_nodes):
                    return route
        name = routes[0].name if routes else self._listed.get(uuid)
        if name is None:
            raise NotServed(f"expected repository UUID {uuid} but found UUID {self.own}")
        raise NotServed(f"not configured to proxy for repository {name}")

    def _routes(self, uuid: str) -> list[Route]:
        """All routes to the repository, allowed or not. Direct routes come first."""
        direct = [Route(uuid, remote.name, remote) for remote in self.remotes if remote.uuid == uuid]
        behind = [
            Route(uuid, f"{remote.name}-{self._proxies[remote.uuid][uuid]}", remote, remote.uuid)
            for remote in self.remotes
            if remote.cluster_gateways
            and remote.uuid
            and remote.uuid != self._client
            and uuid in self._proxies.get(remote.uuid, {})
            and not self._through_us(remote.uuid, uuid)
        ]
        return direct + behind

    def _through_us(self, gateway: str, uuid: str) -> bool:
        """Whether the gateway reaches the repository through us. Its name for it then ends in ours, after a hyphen."""
        ours = self._listed.get(uuid)
        return ours is not None and self._proxies[gateway][uuid].endswith(f"-{ours}")
