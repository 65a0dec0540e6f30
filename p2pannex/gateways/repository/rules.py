"""What a gateway repository serves beside itself: git-annex's rule, as documented and as watched.

A client asks for a repository with ``--uuid``. That it may have it takes two consents. The branch says to everybody
what this repository stands for (proxy.log, which ``git annex updateproxy`` and ``updatecluster`` write). But anybody
who can push can write to the branch; so it takes a setting in this repository's own git config as well:

- a remote: ``annex-proxy``, or ``annex-cluster-node`` with the name of a cluster that is configured here
  (annex.cluster.NAME);
- what another gateway stands for, as proxy.log says of it: ``annex-cluster-gateway`` of the remote which that gateway
  is, set by ``git annex extendcluster``;
- a cluster: annex.cluster.NAME.

The nodes of a cluster are the repositories in cluster.log that may be had in one of the first two ways *for that
cluster*. annex-ignore has no say: it is about what this repository does itself.

Where git-annex differs: it serves a cluster that is in proxy.log and not configured here, as one without nodes, and so
tells clients of content in it that it is not there. We refuse.
"""

from __future__ import annotations

from p2pannex.git_annex.remotes import GitRemote, configured_clusters, git_remotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class NotServed(Exception):
    """This repository does not stand for the one that was asked for. The text is one line."""


class Route:
    """How to reach a repository: it is `remote`, or lies behind the gateway that `remote` is.

    `name` is what the gateway calls it. `gateway` is that gateway's uuid, None where the repository is the remote.
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
        return f"<Way to {self.name} {self.uuid}>"


class Rules:
    """What the repository `own` serves, by its git config `values` and the two logs, read.

    `client` is who asks. What another gateway can reach only through us, or through the client, is not asked of it:
    where logs are out of date, gateways would otherwise ask each other in a circle, each time over a new connection.
    (`Cluster` and `ProxiedRemote` tell with BYPASS where a request has been, but git-annex does not pass that on when
    it proxies for a single repository.)
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
        """Whether `uuid` is a cluster's that is served here."""
        return uuid in self._listed and uuid in self._clusters and uuid in self.configured.values()

    def members(self, cluster: str) -> frozenset[str]:
        """The nodes of the cluster, wherever they are."""
        return frozenset(self._clusters.get(cluster, ()))

    def nodes(self, cluster: str) -> list[Route]:
        """The ways to the nodes of the cluster that clients may be taken.

        Where there is a straight way to a node, it is the only one: other gateways may list the node because we do.
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
        """The way to all that a gateway has of the cluster, for content that is to go to each node behind it.

        None where it may reach nodes by itself that we reach as well: they would be asked twice.
        """
        theirs = self._proxies.get(gateway, {})
        gateways = [remote for remote in self.remotes if remote.uuid == gateway and cluster in remote.cluster_gateways]
        if not gateways or cluster not in theirs:
            return None
        for route in self.nodes(cluster):
            if route.gateway != gateway and route.uuid in theirs and not self._through_us(gateway, route.uuid):
                return None
        return Route(cluster, gateways[0].name, gateways[0], gateway)

    def node(self, uuid: str) -> Route:
        """The way to a repository that a client asks for by its own uuid. NotServed."""
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
        """How the repository can be reached from here, whoever may be taken there: the straight ways first."""
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
        """Whether the gateway has the repository by way of us: it calls it by its name for us, and then as we do."""
        ours = self._listed.get(uuid)
        return ours is not None and self._proxies[gateway][uuid].endswith(f"-{ours}")
