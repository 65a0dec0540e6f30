"""Opening an upload at all nodes: if it is not opened, no node is left with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from p2pannex.cluster import Cluster, Node
from p2pannex.cluster.ask import Failures
from p2pannex.cluster.upload_target import SharedUploadNode, UploadTarget
from p2pannex.keys.key import Key
from p2pannex.service import Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.samples import key_of

KEY = key_of(b"content")


@pytest.mark.parametrize("cancelled", [True, False])
async def test_what_was_opened_is_closed_if_the_rest_cannot_be(autojump_clock: trio.abc.Clock, cancelled: bool) -> None:
    alone = MemoryStore()
    slow = SharedUploadNode("slow", MemoryStore())

    async def open_shared(key: Key, nodes: Sequence[Any]) -> tuple[UploadTarget | None, frozenset[str], Failures]:
        await trio.sleep(1)
        raise ZeroDivisionError

    slow.open_shared_upload = open_shared
    async with Cluster("cluster", [Node("alone", alone), slow]) as cluster:
        if cancelled:
            with trio.move_on_after(0.5) as scope:
                await cluster.put(KEY)
            assert scope.cancelled_caught
        else:
            with pytest.RaisesGroup(ZeroDivisionError):
                await cluster.put(KEY)
        upload = await alone.put(KEY)
        assert isinstance(upload, Upload), "it allows one upload of a key at a time"
        await upload.aclose()
        assert not any(node.transfers for node in cluster.nodes)
