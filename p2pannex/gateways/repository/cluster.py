"""The cluster of a git-annex gateway repository: nodes from its git config, all else from its git-annex branch.

::

    async with RepositoryCluster(read_annex_config(path), uuid) as cluster:
        await serve(peer, cluster)

The git config and the branch are checked every second. Nodes that were added or removed, and changed preferences, take
effect without a restart. An invalid configuration changes nothing until it is corrected.

**Nodes behind another gateway** are nodes like the others, reached through that gateway (`Node.via`). Each gets its
requests under its own UUID, so one node's failure does not affect the others, whichever software the gateway runs.
There is one exception: content for all nodes behind a gateway is sent there only once, to the cluster's UUID, and the
gateway distributes it. In both cases BYPASS tells the gateway where the request came from. A removal is never sent to a
whole cluster: each node gets its own deadline, computed from its own clock (`p2pannex.cluster.removal`), whichever
gateways are in between.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import attrs
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.presence import NotAllAsked
from p2pannex.errors import RemoteError
from p2pannex.gateways.health_files import HealthFiles
from p2pannex.gateways.open_nodes import OpenNodes
from p2pannex.gateways.repository.locations import LoggedUpload, NodeLog
from p2pannex.gateways.repository.nodes import Unavailable, cost_of, node_of, open_route
from p2pannex.gateways.repository.rules import Route, Rules
from p2pannex.gateways.repository.state import read_logs, reread, stamp
from p2pannex.gateways.repository.wanted import Preferences
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.sizes import repository_sizes
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.logs import names
from p2pannex.git_annex.logs.cluster_log import parse_cluster_log
from p2pannex.git_annex.logs.proxy_log import parse_proxy_log
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Removal, Upload
from p2pannex.system.disk_work import DiskWork
from p2pannex.transports import pump

log = logging.getLogger(__name__)

REPOSITORY_INTERVAL = 1.0
"""Seconds between two checks of the git config and the branch."""

RETRY = 10.0
"""Seconds until opening a node is tried again after it failed."""

SIZES_AGE = 60.0
"""Seconds for which the sizes of the repositories are used before they are computed again."""


class NotAGatewayRepository(RemoteError):
    """The repository is no gateway of that cluster."""


@attrs.define
class _Known:
    """What was read and opened last. The cluster and its views (`Cluster.bypassing`) share one object."""

    stamp: tuple[object, ...] = ()
    opened: dict[Route, Node] = attrs.field(factory=dict)
    whole_clusters: dict[Route, Node] = attrs.field(factory=dict)
    preferences: Preferences | None = None
    problems: tuple[str, ...] = ()
    sizes: dict[str, int] = attrs.field(factory=dict)
    sizes_at: float = -float("inf")

    @property
    def elsewhere(self) -> bool:
        """Whether any node is not on this machine."""
        return any(route.remote.path is None for route in self.opened)


class RepositoryCluster(Cluster):
    """The cluster `uuid`, of which the git-annex repository of `config` is a gateway.

    Use it in ``async with``. RemoteError if the repository cannot be used. Entering the block raises
    NotAGatewayRepository if it is not a gateway of that cluster.

    `disk_work` says how its stores and its location log wait for the disk; `InThreads` if None. `client` is the
    client's UUID, if known.
    """

    def __init__(
        self, config: AnnexConfig, uuid: str, *, client: str | None = None, disk_work: DiskWork | None = None
    ) -> None:
        super().__init__(uuid, gateway=config.uuid, memory=pump.blocks)
        self._config = config
        self._client = client
        self._branch = Branch.of(config, disk_work=disk_work)
        self._log = NodeLog(self._branch, ())
        self._disk_work = disk_work
        self._known = _Known()
        self._open_nodes = OpenNodes()
        self._health = _health_files(config)
        self._choosing = trio.Lock()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nodes cannot be used, or uploads are refused: one line each, for people."""
        return self._known.problems

    # Service ----------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        """As in `Cluster`, but a node that does not reply counts as not having the content, unless the location log
        says that it has it.

        Otherwise no new content could be stored in a cluster while one node is down, because git-annex checks first
        whether content is present. False may be wrong, if the content did not reach the node through this repository.
        This loses no content, because no client removes a copy for the reason that another copy is *missing*.
        """
        try:
            return await super().check_present(key)
        except NotAllAsked as error:
            try:
                holders = await self._branch.locations(key)
            except RemoteError:
                raise error from None
            if error.silent & holders:
                raise
            return False

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        self._log.require_writable(key, True)
        answer = await super().put(key, file)
        if isinstance(answer, Upload):
            self._log.prefetch(key)
            return LoggedUpload(answer, key, self._log, frozenset())
        await self._log.record(key, answer.uuids, True)
        return answer

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        self._log.require_writable(key, False)
        self._log.prefetch(key)
        removal = await super().remove(key, before=before)
        await self._log.record(key, removal.uuids, False)
        return removal

    def _named(self, uuids: frozenset[str]) -> frozenset[str]:
        # A gateway that got content for the whole cluster names the cluster, which holds nothing by itself.
        return super()._named(uuids - {self.uuid})

    async def order(self, key: Key, nodes: list[Node]) -> list[Node]:
        """Nodes that have the content by the location log come first, if a request to the others may need a connection.
        The others come after them, since content may have reached them without being logged here."""
        if not self._known.elsewhere:
            return nodes
        try:
            holders = await self._branch.locations(key)
        except RemoteError:
            return nodes  # the log only says which order is better
        return sorted(nodes, key=lambda node: (not node.healthy, node.uuid not in holders))

    # Choosing nodes for content ---------------------------------------------------------------------------------

    async def choose(self, key: Key, file: bytes | None, nodes: Sequence[Node]) -> list[Node]:
        preferences = self._known.preferences
        assert preferences is not None
        holders: Iterable[str] = await self._branch.locations(key) if preferences.needs_holders else ()
        sizes = await self._sizes() if preferences.needs_sizes else {}
        chosen = preferences.choose(key, file, [node.uuid for node in nodes], holders, sizes)
        wanting = [node for node in nodes if node.uuid in chosen]
        for whole in self._known.whole_clusters.values():
            behind = [node for node in nodes if node.via == whole.via]
            if len(behind) > 1 and all(node in wanting for node in behind):
                wanting = [node for node in wanting if node.via != whole.via] + [whole]
        return wanting

    async def _sizes(self) -> dict[str, int]:
        known = self._known
        async with self._choosing:
            if trio.current_time() > known.sizes_at + SIZES_AGE:
                blocking = self._branch.blocking
                known.sizes = await trio.to_thread.run_sync(
                    repository_sizes, blocking.git, blocking.journal, blocking.log_max
                )
                known.sizes_at = trio.current_time()
        return known.sizes

    # Configuration ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self._load(self._config)  # read a moment ago; the first check notices changes since then
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        assert self._nursery is not None
        self._nursery.start_soon(self._watch)
        self._nursery.start_soon(self._log.commit_when_idle)
        return self

    async def _watch(self) -> None:
        retried = trio.current_time()
        while True:
            await trio.sleep(REPOSITORY_INTERVAL)
            if self._health.changed():
                for node in (*self.nodes, *self._known.whole_clusters.values()):
                    node.refresh()
            broken = any(isinstance(node.service, Unavailable) for node in self._known.opened.values())
            retry = broken and trio.current_time() >= retried + RETRY
            if retry or stamp(self._config) != self._known.stamp:
                retried = trio.current_time()
                try:
                    await self.reload()
                except RemoteError:
                    continue

    async def reload(self) -> None:
        """Read the configuration, and open and close nodes to match it. RemoteError if it is invalid."""
        seen = stamp(self._config)  # before reading, so that the next check notices a change made meanwhile
        await self._load(await trio.to_thread.run_sync(reread, self._config.named))
        self._known.stamp = seen

    async def _load(self, config: AnnexConfig) -> None:
        known = self._known
        self._branch.blocking.private = config.private_uuids
        logs, unreadable = await read_logs(self._branch)
        clusters = parse_cluster_log(logs[names.CLUSTER_LOG])
        proxies = parse_proxy_log(logs[names.PROXY_LOG])
        rules = Rules(config.uuid, config.values, proxies, clusters, self._client)
        if not rules.is_cluster(self.uuid):
            raise NotAGatewayRepository(f"{os.fsdecode(config.git_dir)} is no gateway of the cluster {self.uuid}")
        routes = rules.nodes(self.uuid)
        gateways = {route.gateway for route in routes if route.gateway is not None}
        whole_clusters = [route for gateway in gateways if (route := rules.whole(self.uuid, gateway)) is not None]
        self._log.members = rules.members(self.uuid)
        numcopies = config.values.get("annex.numcopies", "")
        known.preferences = Preferences.of(
            logs,
            {route.uuid: route.name for route in routes},
            unreadable=unreadable,
            trust={remote.uuid: remote.trust for remote in rules.remotes if remote.uuid and remote.trust is not None},
            numcopies=int(numcopies) if numcopies.isdecimal() and len(numcopies) < 10 else 1,
        )
        await self._open(routes, whole_clusters, config)
        self._report()

    async def _open(self, routes: list[Route], whole_clusters: list[Route], config: AnnexConfig) -> None:
        """Close nodes that are no longer configured or could not be opened; open all that are not open."""
        known = self._known
        assert self._nursery is not None
        tasks = self._nursery
        for route, node in list(known.opened.items()):
            if route not in routes or isinstance(node.service, Unavailable):
                del known.opened[route]
                self.discard(node)
                self._open_nodes.leave(node)
        for route in [route for route in known.whole_clusters if route not in whole_clusters]:
            self._open_nodes.leave(known.whole_clusters.pop(route))

        async def open_one(route: Route, uuid: str, into: dict[Route, Node]) -> None:
            service = await open_route(route, config, uuid, disk_work=self._disk_work)
            via = () if route.gateway is None else (route.gateway,)
            node = node_of(route.name, service, await cost_of(route.remote), via)
            if not isinstance(service, Unavailable):
                opened_with = route.remote.url, sorted(route.remote.settings.items())
                node.health.memory = self._health.of(uuid, via=via, opened_with=opened_with)
            await self._open_nodes.open(node, tasks)
            into[route] = node

        opened: dict[Route, Node] = {}
        async with trio.open_nursery() as nursery:
            for route in routes:
                if route not in known.opened:
                    nursery.start_soon(open_one, route, route.uuid, opened)
            for route in whole_clusters:
                if route not in known.whole_clusters:
                    nursery.start_soon(open_one, route, self.uuid, known.whole_clusters)
        for node in known.whole_clusters.values():
            node.refresh()
        for route, node in opened.items():
            known.opened[route] = node
            self.add(node)

    def _report(self) -> None:
        known = self._known
        assert known.preferences is not None
        problems = [
            f"node {node.name}: {node.service.problem}"
            for node in known.opened.values()
            if isinstance(node.service, Unavailable)
        ]
        found = tuple(sorted(problems)) + tuple(sorted(known.preferences.problems.values()))
        for problem in found:
            if problem not in known.problems:
                log.warning("%s", problem)
        known.problems = found

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probes.stop()
        await self._open_nodes.close()
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await self._log.commit()
                finally:
                    await self._branch.aclose()


def _health_files(config: AnnexConfig) -> HealthFiles:
    def make(path: bytes) -> None:
        from p2pannex.git_annex.layout import AnnexLayout  # imported at a node's failure: clients wait for imports
        from p2pannex.system.durability import names_durable
        from p2pannex.system.fsync_batch import run_blocking

        if AnnexLayout(config).make_directories(path):
            # The retention records are in the same parent, so its name has to be durable.
            run_blocking(names_durable(path, config.git_dir))

    return HealthFiles(os.path.join(config.git_dir, b"annex", b"p2pannex", b"health"), make)


__all__ = ["NotAGatewayRepository", "RepositoryCluster"]
