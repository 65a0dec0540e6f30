"""Where a repository's objects lie, and with which permissions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.service import AlreadyHave
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.samples import fetch, store
from tests.stores.annex.repository import CONTENT, KEY, annex, locked, make, mode


async def test_where_objects_lie(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        key = await store(one, CONTENT)
        directory = key.hashdir_mixed if (repository / ".git").exists() else key.hashdir_lower
        path = annex(repository) / "objects" / os.fsdecode(directory) / str(key) / str(key)
        assert path.read_bytes() == CONTENT
        assert (mode(path), mode(path.parent)) == (0o444, 0o555)
        assert [*(annex(repository) / "tmp").iterdir()] == []
        assert [*(annex(repository) / "transfer/download/lck").iterdir()] == []
        assert (await one.remove(key)).ok
        assert not path.exists()
    assert [*(annex(repository) / "objects").iterdir()] == []


async def test_objects_are_found_where_the_other_kind_of_repository_has_them(repository: Path) -> None:
    lower = (repository / ".git").exists()
    directory = os.fsdecode(KEY.hashdir_lower if lower else KEY.hashdir_mixed)
    path = annex(repository) / "objects" / directory / str(KEY) / str(KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    path.parent.chmod(0o555)
    async with AnnexStore(repository) as one:
        assert await fetch(one, KEY) == CONTENT
        assert isinstance(await one.put(KEY), AlreadyHave)
        async with await locked(one):
            assert not (await one.remove(KEY)).ok
        assert (await one.remove(KEY)).ok
    assert not path.exists()
    assert [*(annex(repository) / "objects").iterdir()] == []


@pytest.mark.parametrize(
    ("shared", "object_mode", "directory_mode", "other_mode"),
    [  # what git-annex was seen to do, with a umask of 022
        ("false", 0o444, 0o555, 0o644),
        ("group", 0o444, 0o2775, 0o664),
        ("all", 0o444, 0o2775, 0o664),
        ("0660", 0o440, 0o2570, 0o660),
        ("0640", 0o440, 0o2550, 0o640),
    ],
)
async def test_shared_repositories(
    tmp_path: Path, shared: str, object_mode: int, directory_mode: int, other_mode: int
) -> None:
    before = os.umask(0o022)
    try:
        repository = make(tmp_path / "repository", "--bare", core_sharedRepository=shared)
        async with AnnexStore(repository) as one:
            await store(one, CONTENT, KEY)
            path = one.layout.find(KEY)
            async with await locked(one):
                assert mode(path) == object_mode
                assert mode(os.path.dirname(path)) == directory_mode
                for ending in (b".lck", b".rtm", b".rtl"):
                    assert mode(path + ending) == other_mode
            if shared != "false":
                assert mode(os.path.dirname(os.path.dirname(path))) == directory_mode | 0o200
    finally:
        os.umask(before)


async def test_the_umask_decides_who_may_read_what_is_not_shared(repository: Path) -> None:
    before = os.umask(0o077)
    try:
        async with AnnexStore(repository) as one:
            await store(one, CONTENT, KEY)
            assert mode(one.layout.find(KEY)) == 0o400
    finally:
        os.umask(before)
