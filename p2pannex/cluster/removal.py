"""Removal from one node of a cluster, in time.

A client has asked the cluster for its clock, has locked content elsewhere, and allows removal until the *cluster's*
clock reaches `before`. The node has a clock of its own. Nothing about either is remembered between requests; the node
is asked for its clock when it is to remove, and ours is read after its answer:

    node says n              its clock was at least n when it answered, at a moment A
    ours is read: g          at a moment B, not before A
    deadline for the node    n + before - ceil(g)

**Content is never removed after the client's deadline.** The node removes at a moment R only while its clock stands
below `n + before - ceil(g)`. Its clock stood at n or above at A; so less than `before - ceil(g)` seconds have passed
between A and R, and, B being no earlier than A, less than that between B and R. So our clock at R is below
`g + before - ceil(g)`, which is at most `before`. Whole seconds are rounded so that each loses time and none gains
any, and every delay on the way shortens the time allowed. What the two clocks show, how far they are apart, and whether
the node, or we, restarted since the client asked, does not enter.

What is left is a node that restarts, and one that sleeps. For their sake the two messages are adjacent: they go over
one connection, and nothing is asked, and nothing waited for, in between. A node that restarts after its answer, with a
clock that begins again at zero, has lost that connection, and so it is not asked to remove. A node whose monotonic
clock stands still while it sleeps can err by the sleep between A and R, no more.
"""

from __future__ import annotations

import math

from p2pannex.cluster.node import Node
from p2pannex.errors import Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import Removal, Service
from p2pannex.system.clock import Clock


async def remove_from(
    node: Node, service: Service, key: Key, before: int | None, clock: Clock, *, require_deadline: bool
) -> Removal:
    """Remove `key` from a node, if `clock`, the cluster's, has not reached `before`. RemoteError, ConnectionLost.

    A node that knows no deadlines (protocol versions below 3) is asked to remove if there is time left when the request
    leaves us; with `require_deadline` it is not asked at all. `service` is the node's, as the client may see it.
    """
    if before is None:
        return await node.ask(service.remove, key)
    async with service.pinned() as service:
        return await _remove_before(node, service, key, before, clock, require_deadline=require_deadline)


async def _remove_before(
    node: Node, service: Service, key: Key, before: int, clock: Clock, *, require_deadline: bool
) -> Removal:
    try:
        theirs = await node.ask(service.timestamp)
    except Unsupported:
        if require_deadline or clock.monotonic() >= before:
            return await _removed_already(node, service, key)
        return await node.ask(service.remove, key)
    left = before - math.ceil(clock.monotonic())
    if left <= 0:
        return await _removed_already(node, service, key)
    return await node.ask(service.remove, key, before=theirs + left)


async def _removed_already(node: Node, service: Service, key: Key) -> Removal:
    """Where there is no time left: a node that has no such content counts as one that removed it."""
    return Removal(not await node.ask(service.check_present, key))
