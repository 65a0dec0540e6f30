"""Removal from one node of a cluster, before the client's deadline (protocol-spec sections 6.1 and 6.3).

A client has requested the cluster's time, has locked the content elsewhere, and allows the removal until the
*cluster's* clock reaches `before`. The node has a clock of its own. The cluster remembers nothing about either clock
between requests. For each removal it computes the node's deadline anew:

1. The cluster requests the node's time. The node replies n. Its clock was at least n when it replied, at a moment A.
2. The cluster then reads its own clock, which shows g, at a moment B. B is not before A.
3. The cluster requests the removal with the deadline `n + before - ceil(g)` on the node's clock.

**Content is never removed after the client's deadline.** Let R be the moment when the node removes the content:

1. At R the node's clock is below `n + before - ceil(g)`: the node checks this.
2. At A the node's clock was at n or above. So less than `before - ceil(g)` seconds have passed from A to R.
3. B is not before A. So less than `before - ceil(g)` seconds have passed from B to R.
4. At B our clock showed g. So at R it shows less than `g + before - ceil(g)`, which is at most `before`.

Both roundings to whole seconds (n down, g up) and every delay on the way shorten the time allowed; none extends it. The
argument does not depend on what the two clocks show, on how far they are apart, or on whether the node or the gateway
restarted after the client requested the time.

It does assume that the node's clock neither restarts nor stops between A and R. Two kinds of node could break this
assumption. Because of them, both requests go over one connection, with no other request and no wait in between:

- A node that restarts after its reply, so that its clock begins at zero again, loses this connection. So it never gets
  the second request.
- A node with a monotonic clock that stops while the node sleeps can remove too late: by as long as it sleeps between A
  and R, and no longer.

**After the client's deadline** the node gets REMOVE-BEFORE all the same. Its deadline is then n or less, and its clock
has reached n, so it removes nothing. It replies SUCCESS only if it does not have the content. CHECKPRESENT would not
do: a node that is a cluster itself replies FAILURE to it although some of its nodes have the content, or may have it
(`p2pannex.cluster.presence`). To REMOVE-BEFORE it replies SUCCESS only if each of its nodes does. So nothing counts as
removed that a node, however many gateways are in between, neither removed nor lacked.

A node without deadlines gets no REMOVE then, since that would remove. Nothing else shows that a cluster lacks content.
"""

from __future__ import annotations

import math

from p2pannex.cluster.node import Node
from p2pannex.errors import Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import TOO_LATE, Removal, Service
from p2pannex.system.clock import Clock

CLUSTERS = 2
"""The first protocol version with clusters (BYPASS, SUCCESS-PLUS). Below it a server is one repository, so content that
is absent there is gone. Servers use the highest version that they know, and `Remote` offers all,
unless a test limits it."""

NO_DEADLINES = "it is too old to remove before a deadline"
"""Reason of a `Removal` that is not ok."""


async def remove_from(
    node: Node, service: Service, key: Key, before: int | None, clock: Clock, *, require_deadline: bool
) -> Removal:
    """Remove `key` from a node if `clock`, the cluster's, has not reached `before`. RemoteError, ConnectionLost.

    A node that does not support deadlines (protocol versions below 3) gets a plain removal, if there is time left when
    the request is sent; with `require_deadline` it gets none. If it gets no removal, the outcome is ok only if it is a
    single repository that does not have the content (`CLUSTERS`). `service` is the node's, as `bypassing` returned it.
    """
    if before is None:
        return await node.ask_to_hash(key.size or 0, service.remove, key)
    async with service.pinned() as service:
        return await _remove_before(node, service, key, before, clock, require_deadline=require_deadline)


async def _remove_before(
    node: Node, service: Service, key: Key, before: int, clock: Clock, *, require_deadline: bool
) -> Removal:
    try:
        node_now = await node.ask(service.timestamp)
    except Unsupported:
        if require_deadline:
            return await _absent(node, service, key, NO_DEADLINES)
        if clock.monotonic() >= before:
            return await _absent(node, service, key, TOO_LATE)
        return await node.ask_to_hash(key.size or 0, service.remove, key)
    left = before - math.ceil(clock.monotonic())
    return await node.ask_to_hash(key.size or 0, service.remove, key, before=max(node_now + left, 0))


async def _absent(node: Node, service: Service, key: Key, reason: str) -> Removal:
    """Without a removal, from a node that does not support deadlines: ok only if CHECKPRESENT shows that the content is
    gone. That is known of servers below `CLUSTERS` only."""
    if await node.ask(service.version) >= CLUSTERS or await node.ask(service.check_present, key):
        return Removal(False, reason=reason)
    return Removal(True)
