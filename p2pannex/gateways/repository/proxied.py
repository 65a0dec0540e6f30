"""One repository behind a gateway repository, for clients that request it by its own UUID."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio

from p2pannex.gateways.repository.locations import LoggedRemote, NodeLog
from p2pannex.gateways.repository.nodes import Unavailable, open_route
from p2pannex.gateways.repository.rules import Route
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.service import Service
from p2pannex.system.background import Background
from p2pannex.system.disk_work import DiskWork


class ProxiedRemote(LoggedRemote):
    """The repository that `route` leads to, from the gateway repository of `config`.

    Use it in ``async with``. At the end of the block, all that was done through it is in the location log and
    committed.

    If the route goes through another gateway, two things prevent circles between gateways with outdated logs: that
    gateway gets a BYPASS with our UUID, and a client that came through that gateway is refused.

    `disk_work` says how its store and its location log wait for the disk; `InThreads` if None.
    """

    def __init__(self, config: AnnexConfig, route: Route, *, disk_work: DiskWork | None = None) -> None:
        self._config = config
        self._route = route
        self._disk_work = disk_work
        self._branch = Branch.of(config, disk_work=disk_work)
        log = NodeLog(self._branch, [route.uuid])
        self._opened: Service = Unavailable(route.uuid, "a ProxiedRemote has to be entered with async with")
        self._background = Background(log.commit_when_idle)
        super().__init__(self._opened, log)

    def bypassing(self, uuids: frozenset[str]) -> Service:
        if self._route.gateway in uuids:
            return Unavailable(self.uuid, f"the route to {self._route.name} leads back to where the request came from")
        return super().bypassing(uuids)

    async def __aenter__(self) -> Self:
        self._inner = self._opened = await open_route(self._route, self._config, disk_work=self._disk_work)
        if self._route.gateway is not None:
            self._inner = self._opened.bypassing(frozenset({self._config.uuid}))
        await self._background.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._inner.aclose()
                await self._opened.aclose()
                try:
                    await self._log.commit()
                finally:
                    await self._branch.aclose()
        finally:
            await self._background.__aexit__(kind, error, trace)


__all__ = ["ProxiedRemote"]
