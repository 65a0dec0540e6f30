"""Opens an upload into a cluster: all nodes get their PUT at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from p2pannex.cluster.ask import Failures, ask_in_time
from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.cluster.upload_target import OpenSharedUpload, SharedUploadNode, UploadTarget
from p2pannex.cluster.uploads import close_all
from p2pannex.errors import WrongContent
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service, Upload


async def open_uploads(
    nodes: Iterable[Node],
    service: Callable[[Node], Service],
    key: Key,
    file: bytes | None,
    stall_budget: StallBudget,
    background: trio.Nursery,
) -> tuple[list[UploadTarget], frozenset[str], Failures]:
    """Open an upload at every node. Returns the targets that wait for content, the UUIDs of the repositories that have
    it already, and the nodes that failed.

    `service` gives the service of a node. Requests that take too long are ended in `background`. Nodes that share an
    upload (`SharedUploadNode`) become one target.
    """
    size = key.size
    targets: list[UploadTarget] = []
    present: set[str] = set()
    failures: Failures = {}
    alone: list[Node] = []
    together: dict[OpenSharedUpload, list[Node]] = {}
    for node in nodes:
        if isinstance(node, SharedUploadNode):
            together.setdefault(node.open_shared_upload, []).append(node)
        else:
            alone.append(node)

    async def open_one(node: Node) -> Upload | AlreadyHave:
        reply = await node.ask_to_hash(key.size or 0, service(node).put, key, file)
        if isinstance(reply, Upload) and size is not None and reply.offset > size:
            await close_all([reply])
            raise WrongContent(f"it kept {reply.offset} bytes of content that has {size}")
        return reply

    async def discard(reply: Upload | AlreadyHave) -> None:
        if isinstance(reply, Upload):
            await close_all([reply])

    async def open_single() -> None:
        replies, failed = await ask_in_time(alone, open_one, stall_budget, background, discard)
        failures.update(failed)
        for node, reply in replies.items():
            if isinstance(reply, AlreadyHave):
                present.update(reply.uuids, [node.uuid])
            else:
                targets.append(UploadTarget.of(node, reply))

    async def open_shared(put: OpenSharedUpload, several: list[Node]) -> None:
        target, holders, failed = await put(key, several)
        if target is not None:
            targets.append(target)
        present.update(holders)
        failures.update(failed)

    try:
        if together:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_single)
                for put, several in together.items():
                    nursery.start_soon(open_shared, put, several)
        else:
            await open_single()
    except BaseException:
        await close_all(target.upload for target in targets)
        raise
    return targets, frozenset(present), failures
