"""Special remotes, held to the contract of every Service: by themselves, and served at every version."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pannex.service import Service
from p2pannex.stores.external import ExternalStore
from p2pannex.testing.checks_of_content import takes_every_key
from p2pannex.testing.services import LOCK_CHECKS, SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served

PLAIN = Path(__file__).parent / "special_remotes" / "plain.py"
CHECKS = [check for check in SERVICE_CHECKS if check not in LOCK_CHECKS]
UUID = "0c0c0c0c-1111-2222-3333-444444444444"


def store(tmp_path: Path, *words: str) -> ExternalStore:
    argv = [sys.executable, "-I", "-S", str(PLAIN), *words]
    return ExternalStore(UUID, argv, {"directory": str(tmp_path / "cloud")}, tmp_path / "spool", tmp_path / "state")


@pytest.mark.parametrize("words", [("1",), ("2", "async")], ids=["one at a time", "async"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_external_store(check: Check, words: tuple[str, ...], tmp_path: Path) -> None:
    await check_service(lambda: store(tmp_path, *words), checks=[check])


@pytest.mark.parametrize("version", range(5))
async def test_served_external_store(version: int, tmp_path: Path) -> None:
    """All checks at one version, but the one with keys that no special remote takes: over the wire that is an error."""

    stores = itertools.count()

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Service]:
        async with store(tmp_path / str(next(stores)), "1") as external, served(external, transport="pipe", version=version) as remote:
            yield remote

    await check_service(make, checks=[check for check in CHECKS if check is not takes_every_key])
