"""The beginning of an upload into a cluster: every node is asked for its part of it, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from p2pannex.cluster.ask import ask_all
from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import StallBudget
from p2pannex.cluster.upload_target import OpenSharedUpload, SharedUploadNode, UploadTarget
from p2pannex.cluster.uploads import close_all
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service, Upload


async def open_uploads(
    nodes: Iterable[Node], service: Callable[[Node], Service], key: Key, file: bytes | None, stall_budget: StallBudget
) -> tuple[list[UploadTarget], frozenset[str], list[str]]:
    """Begin to store at the nodes: the parts, who has the content already, and what kept the others from it.

    `service` is a node's, as the client may see it. Nodes that receive content together have one part.
    """
    targets: list[UploadTarget] = []
    present: set[str] = set()
    problems: list[str] = []
    alone: list[Node] = []
    together: dict[OpenSharedUpload, list[Node]] = {}
    for node in nodes:
        if isinstance(node, SharedUploadNode):
            together.setdefault(node.open_shared_upload, []).append(node)
        else:
            alone.append(node)

    async def open_one(node: Node) -> Upload | AlreadyHave:
        answer = await node.ask(service(node).put, key, file)
        if isinstance(answer, Upload):
            targets.append(UploadTarget.of(node, answer))
        return answer

    async def open_single() -> None:
        answers, complaints = await ask_all(alone, open_one, stall_budget)
        problems.extend(complaints)
        for node, answer in answers.items():
            if isinstance(answer, AlreadyHave):
                present.update(answer.uuids, [node.uuid])

    async def open_shared(put: OpenSharedUpload, several: list[Node]) -> None:
        target, having, complaints = await put(key, several)
        if target is not None:
            targets.append(target)
        present.update(having)
        problems.extend(complaints)

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
    return targets, frozenset(present), problems
