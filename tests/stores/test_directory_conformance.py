"""The directory store, held to the contract of every Service: by itself, and served."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.disk_work import Batched
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_directory_store(check: Check, tmp_path: Path) -> None:
    await check_service(lambda: DirectoryStore.create(tmp_path / "store"), checks=[check])


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_directory_store_beside_others(check: Check, tmp_path: Path) -> None:
    DirectoryStore.create(tmp_path / "store")
    await check_service(lambda: DirectoryStore(tmp_path / "store", disk_work=Batched()), checks=[check])


@pytest.mark.parametrize("transport", ["memory", "pipe"])
@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_served_directory_store(check: Check, transport: str, tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Service]:
        async with served(DirectoryStore.create(tmp_path / "store"), transport=transport) as remote:
            yield remote

    await check_service(make, checks=[check])
