"""The annex store, held to the contract of every Service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pannex.service import Service
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.disk_work import Batched, Inline
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_annex_store(check: Check, repository: Path) -> None:
    await check_service(lambda: AnnexStore(repository), checks=[check])


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_annex_store_beside_others(check: Check, repository: Path) -> None:
    await check_service(lambda: AnnexStore(repository, disk_work=Batched()), checks=[check])


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_annex_store_for_one_client(check: Check, repository: Path) -> None:
    @contextlib.asynccontextmanager
    async def make_served() -> AsyncIterator[Service]:
        async with AnnexStore(repository, disk_work=Inline()) as one, served(one, transport="pipe") as remote:
            yield remote

    await check_service(make_served, checks=[check])
