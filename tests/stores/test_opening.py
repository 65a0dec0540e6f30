"""A directory is opened as the store that it is, by every name of a repository."""

from __future__ import annotations

from pathlib import Path

from p2pannex.stores.annex.store import AnnexStore
from p2pannex.urls import open_url
from tests.stores.annex.repository import UUID, make


async def test_every_name_of_a_repository(repository: Path) -> None:
    inside = [repository / ".git"] if (repository / ".git").exists() else []
    for path in (repository, *inside):
        async with await open_url(str(path)) as one:
            assert one.uuid == UUID
            assert isinstance(one, AnnexStore)


async def test_a_bare_repository_without_its_ending(tmp_path: Path) -> None:
    make(tmp_path / "name.git", "--bare")
    async with await open_url(str(tmp_path / "name")) as one:
        assert one.uuid == UUID
