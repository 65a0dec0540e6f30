"""Gateways behind gateways: a node that several routes lead to gets each request once.

A request names the gateways that it came through (BYPASS, protocol-spec section 4.4), and it is not sent to those
again. This ends cycles. A diamond needs more: two gateways that get the same request from us may have the same node
behind them, and neither knows of the other's request. So before we send any request, we assign each node behind our
gateways to one gateway. This is done for one gateway after the other. Each is assigned all that it reaches, except what
was assigned before, and except what it reaches only through another gateway that also gets the request from us. The
other gateways are told to bypass what is assigned to it.

**No node is left out.** Take any route from us to a node, and the last gateway or node on it that is assigned:

1. There is one, since each gateway that gets the request from us is assigned to itself.
2. Suppose that it is not the node, but a gateway G, and that G is assigned to the gateway A. Then the next step on the
   route is not assigned.
3. So no gateway was told to bypass this next step, and A reaches it through G.
4. So the next step is assigned to A, or was assigned before: a contradiction. The last one is the node itself.

**No node gets the request twice.** What is assigned to a gateway is bypassed by the gateways after it. The gateways
before it do not reach it; otherwise it would be assigned to one of them.

This works as far as the routes are known. A gateway in this process lists what is behind it. About a gateway behind a
connection only its UUID is known (`Node.via`): the protocol has no message for the rest. If two such gateways have a
third gateway behind them, that gateway gets the request twice, which takes time and does no harm. A caller that knows
the routes can list them instead: several nodes with the same UUID, each with its `via`, are routes to one repository.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from p2pannex.cluster.node import Node
from p2pannex.service import Service


class Gateway(Service):
    """A Service with nodes behind it."""

    gateway: str | None
    """The UUID of the gateway itself, which other gateways use to bypass it."""

    @property
    @abc.abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """Every route to each node."""


def entered(node: Node) -> frozenset[str]:
    """The gateways that a request to this node goes through before it reaches the node."""
    service = node.service
    return node.via | {service.gateway} if isinstance(service, Gateway) and service.gateway else node.via


def allowed(node: Node, bypass: frozenset[str]) -> bool:
    """Whether a request that has to bypass these UUIDs may go to this node."""
    return node.uuid not in bypass and entered(node).isdisjoint(bypass)


def reached(node: Node, bypass: frozenset[str]) -> frozenset[str]:
    """The UUIDs of the nodes and gateways that a request to `node` reaches, as far as they are known. The result may
    lack some that it reaches, but has none that it does not reach."""
    found = {node.uuid}
    behind = [node.service]
    while behind:
        service = behind.pop()
        if isinstance(service, Gateway):
            if service.gateway:
                found.add(service.gateway)
            closed = bypass.union(found)
            for other in service.nodes:
                if other.uuid not in found and allowed(other, closed):
                    found.add(other.uuid)
                    behind.append(other.service)
    return frozenset(found)


def to_bypass(node: Node, asked: Sequence[Node], nodes: Sequence[Node], bypass: frozenset[str]) -> frozenset[str]:
    """What a request to `node` has to bypass. `nodes` are all nodes of the cluster, `asked` those of them that get the
    request, and `bypass` is what the request has to bypass in any case."""
    own = entered(node)
    if not own:
        return bypass
    if not isinstance(node.service, Gateway):
        # An open connection has sent its BYPASS already, so the result must not depend on `asked`.
        return bypass.union(*map(entered, nodes)) - own
    siblings = bypass.union(*map(entered, asked))
    # Unhealthy nodes come last, so that what is behind them is assigned to others that have a route to it.
    in_turn = sorted(asked, key=lambda other: (not other.healthy, other.cost, other.uuid))
    assigned = siblings.union(other.uuid for other in in_turn if other.healthy)
    for other in in_turn:
        if other is node:
            break
        assigned |= reached(other, assigned - entered(other) - {other.uuid})
    assigned -= own | {node.uuid}
    return (siblings - own) | (assigned & reached(node, siblings - own))
