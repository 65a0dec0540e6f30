"""The annex store: what is refused, and what several programs do at once.

The repositories are made with git alone. What git-annex makes of them is in ``tests/compat/test_annex_store.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import Stored, Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, annex, make


async def test_a_link_to_nowhere_in_the_way_is_an_error(repository: Path) -> None:
    """And not a recursion without end."""
    objects = annex(repository) / "objects"
    objects.parent.mkdir(exist_ok=True)
    objects.symlink_to("nowhere")
    async with AnnexStore(repository) as service:
        with pytest.raises(RemoteError):
            await store(service, b"content")


async def test_two_programs_do_not_receive_one_content(repository: Path) -> None:
    async with AnnexStore(repository) as one, AnnexStore(repository) as other:
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        assert other.claim(KEY) is None
        async with upload:
            await upload.begin(len(CONTENT))
            await upload.send_all(memoryview(CONTENT))
            assert isinstance(await upload.finish(True), Stored)
        claim = other.claim(KEY)
        assert claim is not None
        claim.release()


async def test_in_use_twice(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        with pytest.raises(RuntimeError, match="another"):
            async with one:
                pass


async def test_insecure_hashes(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository", annex_securehashesonly="true")
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        with pytest.raises(RemoteError, match=r"annex.securehashesonly.*WORM"):
            await one.put(Key(b"WORM-s1-m1--x"))


async def test_disk_reserve(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository", annex_diskreserve="1000 exabytes")
    async with AnnexStore(repository) as one:
        with pytest.raises(RemoteError, match="not enough disk space"):
            await one.put(KEY)


def test_key_of_the_sample() -> None:
    assert key_of(CONTENT) == KEY
