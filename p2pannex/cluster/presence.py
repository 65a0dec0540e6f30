"""CHECKPRESENT of a cluster.

The content is present if `copies` nodes have it. It is absent if every node replies, and none has it.

If some nodes have the content, but fewer than `copies`, the reply is that it is absent as long as another node replies
that it lacks it. The client then stores it there. If the content were present, git-annex would store nothing, and `git
annex move` would drop the client's copy, although the cluster has too few.

So "absent" means: store it. It does not mean that no node has the content, and a node may be a cluster itself. No
content is lost by the reply, because no client removes a copy for the reason that another copy is *missing*, and this
package never takes it as proof that content is gone: only the reply to a removal is that
(`p2pannex.cluster.removal`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from p2pannex.cluster.ask import Failures, left_out, listed
from p2pannex.cluster.copies import too_few
from p2pannex.cluster.node import Node
from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Service


class NotAllAsked(RemoteError):
    """No node that replied has the content, and other nodes failed, or got no request because they are suspended.
    `silent` are the UUIDs of these nodes.
    `some_answered`: at least one node replied that it does not have the content."""

    def __init__(self, message: str, silent: frozenset[str], *, some_answered: bool) -> None:
        super().__init__(message)
        self.silent = silent
        self.some_answered = some_answered


async def check_present(
    nodes: Sequence[Node],
    suspended: Sequence[Node],
    service: Callable[[Node, Sequence[Node]], Service],
    recovered: Callable[[Sequence[Node]], Awaitable[tuple[list[Node], list[Node]]]],
    key: Key,
    copies: int,
) -> bool:
    """Send the request to one of `nodes` after the other, until `copies` of them have the content.

    `suspended` are nodes that get no request, unless `recovered` returns them (`Probes.recovered`), or the others are
    fewer than `copies` although all of them have the content. `service` gives the service of a node, for a request that
    goes to these nodes. NotAllAsked if no node has the content, and some did not reply. RemoteError if all nodes that
    replied have it, and these are too few.
    """
    failures: Failures = {}
    silent: set[str] = set()
    asked: list[Node] = []
    holders = absent = 0
    while nodes:
        asked += nodes
        for node in nodes:
            try:
                if not await node.ask(service(node, asked).check_present, key):
                    absent += 1
                    continue
            except (RemoteError, ConnectionLost) as error:
                failures[node.name] = str(error)
                silent.add(node.uuid)
                continue
            holders += 1
            if holders >= copies:
                return True
        nodes, suspended = await recovered(suspended)
        if not nodes and holders and not absent:  # all that replied have it, and are too few
            nodes, suspended = suspended, []
    await trio.lowlevel.checkpoint_if_cancelled()
    failures = left_out(suspended) | failures
    silent.update(node.uuid for node in suspended)
    if holders and not absent:
        raise RemoteError(too_few(holders, copies, failures))
    if failures and not holders:
        message = f"not every node replied: {listed(failures)}"
        raise NotAllAsked(message, frozenset(silent), some_answered=absent > 0)
    return False
