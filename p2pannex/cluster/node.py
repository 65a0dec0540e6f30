"""A node: a Service with a name, a cost, and a record of its failures.

Every request to a node goes through `Node.ask`, which sets a deadline and records whether the node replied
(`p2pannex.cluster.health` says what follows from it). A refusal (`RemoteError`) is a reply, and no failure, unless the
node took long for it: then, for example, a special remote waited for a server that is down.

Each failure is logged once, with its reason, until the node replies again. Refusals are logged as well: once for each
kind of request, until the node fulfils a request of that kind.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

import trio

from p2pannex.cluster.health import Health
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported, WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import NotLocked, Service, seconds_to_hash
from p2pannex.terminal import safe_line

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

COST = 100.0
"""The annex-cost of a node without a configured cost."""

NODE_TIMEOUT = 30.0
"""Seconds that a node may take for a reply, or for a block of content."""

TRANSFERS = 8
"""Uploads and downloads of a node at a time. A `Remote` has ten connections: two are left for other requests."""

SLOW_REFUSAL = 5.0
"""A refusal that took longer than this many seconds counts as a failure."""

COSTLY = 1.0
"""A failure that took longer than this many seconds suspends the node at once. A quicker one delays requests so little
that only a second one in a row does."""

PROBED_KEY = Key("SHA256-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""A probe requests the presence of this key, the key of no bytes. Whether the node has it does not matter."""


class NotOpened(RemoteError):
    """The node could not be opened. The code that tried to open it has logged the reason."""


class Node:
    """One repository of a cluster.

    `cost` is as in annex-cost: cheaper nodes get requests first. `timeout` is in seconds. `limit` is how many transfers
    the node has at a time; others wait. `via` are the UUIDs of the gateways on the route to it. Requests that came
    through one of these gateways do not go to the node: that gateway reaches it by itself.

    The caller that made `service` closes it; the node does not.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        cost: float = COST,
        timeout: float = NODE_TIMEOUT,
        limit: int = TRANSFERS,
        via: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.service = service
        self.cost = cost
        self.timeout = timeout
        self.limit = limit
        self.via = frozenset(via)
        self.transfers = 0
        """Uploads and downloads that are open at this moment. `Admission` counts them."""
        self.health = Health()
        self._logged = False
        self._refused: set[str] = set()
        """The kinds of requests that it refused the last time."""

    @property
    def uuid(self) -> str:
        return self.service.uuid

    @property
    def busy(self) -> bool:
        """Whether it has `limit` transfers already."""
        return self.transfers >= self.limit

    @property
    def healthy(self) -> bool:
        """Whether it replied the last time."""
        return self.health.healthy

    @property
    def suspended(self) -> bool:
        """Whether it gets no requests as long as other nodes can get them."""
        return self.health.suspended

    async def ask(self, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs) -> T:
        """Call a method of this node's service, or of an object that the service returned. ConnectionLost if the call
        takes longer than `timeout`."""
        return await self.ask_to_hash(0, request, *args, **named)

    async def ask_to_hash(
        self, count: int, request: Callable[P, Awaitable[T]], /, *args: P.args, **named: P.kwargs
    ) -> T:
        """`ask`, for a call before whose end the node may have to hash, or to write to disk, `count` bytes.

        Only how long it takes shows whether a node hangs. A node that may be at work gets as much time in addition as
        that work takes a slow node; every other node gets `timeout` alone, however large the content is.
        """
        at_work = seconds_to_hash(count)
        seconds = self.timeout + at_work
        started = trio.current_time()
        with trio.move_on_after(seconds):
            try:
                reply = await request(*args, **named)
            except RemoteError as error:
                took = trio.current_time() - started - at_work
                if self.counts_as_failure(error, took):
                    self.failed(str(error), costly=took > COSTLY)
                else:
                    self.answered()
                    if not isinstance(error, NotLocked | Unsupported | NotOpened):
                        self.refused(_kind(request), str(error))
                raise
            except ConnectionLost as error:
                self.failed(str(error), costly=trio.current_time() - started > COSTLY)
                raise
            self.answered()
            if self._refused:
                self.fulfilled(_kind(request))
            return reply
        reason = f"it did not reply within {seconds:g} s"
        self.failed(reason)
        raise ConnectionLost(reason)

    def counts_as_failure(self, error: RemoteError, took: float) -> bool:
        """Whether this reply, after `took` seconds, is a failure of the node."""
        return took > SLOW_REFUSAL and not isinstance(error, NotLocked | Unsupported | WrongContent)

    async def probe(self, service: Service) -> None:
        """Find out whether the node replies again. `service` is the node's. To be called after `health.back_at`."""
        failed_at = self.health.failed_at
        try:
            await self.ask(service.check_present, PROBED_KEY)
        except (RemoteError, ConnectionLost):
            pass
        if self.health.failed_at == failed_at:  # no failure was recorded
            self.health.recovered()
            self._log_recovery()

    def refresh(self) -> None:
        """Use what other processes recorded about the node's failures (`health.memory`)."""
        healthy = not self.health.failures
        self.health.refresh()
        if healthy and self.health.failures and not self.health.healthy:
            log.warning("node %s is left out for now: %s", self.name, safe_line(self.health.summary))
            self._logged = True
        self._log_recovery()

    def answered(self) -> None:
        if self.health.failures:
            self.health.answered()
            self._log_recovery()

    def failed(self, reason: str = "it did not reply in time", *, costly: bool = True) -> None:
        """Record that it did not reply. `costly`: a request waited for it."""
        if not self.health.failures:  # the first one; those that follow are not logged
            log.warning("node %s failed: %s", self.name, safe_line(reason))
            self._logged = True
        self.health.failed(reason, costly=costly)

    def fulfilled(self, kind: str) -> None:
        """Record that it fulfilled a request of this kind."""
        self._refused.discard(kind)

    def refused(self, kind: str, reason: str) -> None:
        """Record that it refused a request of this kind."""
        if kind not in self._refused:
            self._refused.add(kind)
            log.warning("node %s reports an error: %s", self.name, safe_line(reason))

    def _log_recovery(self) -> None:
        if self._logged and not self.health.failures:
            self._logged = False
            log.warning("node %s replies again", self.name)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.uuid}{'' if self.healthy else ', unhealthy'}>"


def _kind(request: object) -> str:
    return str(getattr(request, "__name__", ""))


def ranked(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in the order in which they get requests: by health, free slots, cost, number of transfers."""
    return sorted(nodes, key=lambda node: (not node.healthy, node.busy, node.cost, node.transfers))


def to_ask(nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The nodes that get a request, and the suspended nodes, which do not. If all are suspended, all get it: there is
    no other way to fulfil the request."""
    suspended = [node for node in nodes if node.suspended]
    if len(suspended) == len(nodes):
        return list(nodes), []
    return [node for node in nodes if node not in suspended], suspended
