"""Gateways behind gateways: who asks whom, so that a node that many ways lead to is asked once.

A request carries the gateways that it came through (BYPASS), and nobody goes back to those. That ends cycles. A diamond
needs more: two gateways that we ask, and that do not know of each other's requests, may both have the same node behind
them. So what is behind them is divided up before they are asked. Each in turn gets all that it comes to without the
gateways that we ask ourselves, and without what was given to those before it; the others are told to bypass that.

**Nothing is left out.** Take a node that some way leads to, and on that way the last gateway or node that was given to
somebody: there is one, as each gateway that we ask is given to itself. If it were not the node itself, then what comes
next on the way was given to nobody, so nobody was told to bypass it, and who was given the one before comes to it.
**Nothing is asked twice**, since what was given to one is bypassed by those after it, and by those before it because
they do not come to it.

It can be divided up only as far as it is known: gateways in this process tell what is behind them. Of one that is
reached through a connection it is known which it is (`Node.via`), and no more: the protocol has no word for the rest.
Two such with a third one behind both do ask that twice, which takes time and does no harm. Who knows the ways names
them instead: nodes of the same UUID, each with `via`, are ways to one repository.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from p2pannex.cluster.node import Node
from p2pannex.service import Service


class Gateway(Service):
    """A Service with nodes behind it."""

    gateway: str | None
    """The UUID of the gateway itself, by which others bypass it."""

    @property
    @abc.abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """Every way to each node."""


def entered(node: Node) -> frozenset[str]:
    """The gateways that a request to this node goes through first."""
    service = node.service
    return node.via | {service.gateway} if isinstance(service, Gateway) and service.gateway else node.via


def allowed(node: Node, bypass: frozenset[str]) -> bool:
    """Whether a request that is to bypass these may go to this node."""
    return node.uuid not in bypass and entered(node).isdisjoint(bypass)


def reached(node: Node, bypass: frozenset[str]) -> frozenset[str]:
    """The UUIDs of nodes and gateways that a request to `node` comes to, as far as is known: rather too few than one
    that it may not come to."""
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
    """What a request to `node` has to bypass, where all of `asked`, of these `nodes`, are asked, and it is to bypass
    the `bypass` anyway."""
    own = entered(node)
    if not own:
        return bypass
    if not isinstance(node.service, Gateway):
        # Connections were told already what to bypass: it stays the same whoever is asked this time.
        return bypass.union(*map(entered, nodes)) - own
    siblings = bypass.union(*map(entered, asked))
    # Those that do not answer come last, so that what is behind them is given to others where there is a way.
    in_turn = sorted(asked, key=lambda other: (not other.healthy, other.cost, other.uuid))
    given = siblings.union(other.uuid for other in in_turn if other.healthy)
    for other in in_turn:
        if other is node:
            break
        given |= reached(other, given - entered(other) - {other.uuid})
    given -= own | {node.uuid}
    return (siblings - own) | (given & reached(node, siblings - own))
