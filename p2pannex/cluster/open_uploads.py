"""The beginning of an upload into a cluster: every node is asked for its part of it, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from p2pannex.cluster.ask import ask_all
from p2pannex.cluster.node import Node
from p2pannex.cluster.stall_budget import Patience
from p2pannex.cluster.upload_target import OpenSharedUpload, Part, SharedUploadNode
from p2pannex.cluster.uploads import close_all
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service, Upload


async def begin_uploads(
    nodes: Iterable[Node], service: Callable[[Node], Service], key: Key, file: bytes | None, patience: Patience
) -> tuple[list[Part], frozenset[str], list[str]]:
    """Begin to store at the nodes: the parts, who has the content already, and what kept the others from it.

    `service` is a node's, as the client may see it. Nodes that receive content together have one part.
    """
    parts: list[Part] = []
    present: set[str] = set()
    problems: list[str] = []
    alone: list[Node] = []
    together: dict[OpenSharedUpload, list[Node]] = {}
    for node in nodes:
        if isinstance(node, SharedUploadNode):
            together.setdefault(node.open_shared_upload, []).append(node)
        else:
            alone.append(node)

    async def begin(node: Node) -> Upload | AlreadyHave:
        answer = await node.ask(service(node).put, key, file)
        if isinstance(answer, Upload):
            parts.append(Part.of(node, answer))
        return answer

    async def begin_alone() -> None:
        answers, complaints = await ask_all(alone, begin, patience)
        problems.extend(complaints)
        for node, answer in answers.items():
            if isinstance(answer, AlreadyHave):
                present.update(answer.uuids, [node.uuid])

    async def begin_together(put: OpenSharedUpload, several: list[Node]) -> None:
        part, having, complaints = await put(key, several)
        if part is not None:
            parts.append(part)
        present.update(having)
        problems.extend(complaints)

    try:
        if together:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(begin_alone)
                for put, several in together.items():
                    nursery.start_soon(begin_together, put, several)
        else:
            await begin_alone()
    except BaseException:
        await close_all(part.upload for part in parts)
        raise
    return parts, frozenset(present), problems
