"""The Service of a node that cannot be opened.

The node is not left out of the cluster. What it holds is unknown, and content on it cannot be removed. If it were left
out, clients would get replies that say otherwise, and would rely on them.
"""

from __future__ import annotations

from typing import NoReturn

import trio

from p2pannex.cluster.node import NotOpened
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, Removal, Service, Upload


class Unavailable(Service):
    """A repository that cannot be opened. Every request fails, with the reason."""

    def __init__(self, uuid: str, problem: str) -> None:
        self.uuid = uuid
        self.problem = problem

    async def _refuse(self) -> NoReturn:
        await trio.lowlevel.checkpoint_if_cancelled()
        raise NotOpened(self.problem)

    async def check_present(self, key: Key) -> bool:
        await self._refuse()

    async def lock(self, key: Key) -> Lock:
        await self._refuse()

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        await self._refuse()

    async def timestamp(self) -> int:
        await self._refuse()

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        await self._refuse()

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        await self._refuse()
