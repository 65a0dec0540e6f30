"""What is on disk before SUCCESS is sent, in a git-annex repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.service import AlreadyHave
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system import durability
from p2pannex.testing.samples import store
from tests.stores.annex.repository import CONTENT, KEY, annex
from tests.support.clocks import ManualClock
from tests.support.disk_order import DiskOrder, disk_order
from tests.system.mounts import pretended_file_systems


@pytest.fixture(params=["btrfs", "xfs"])
def file_system(
    request: pytest.FixtureRequest, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """One of which only POSIX is known, and one where the innermost fsync is enough."""
    systems = pretended_file_systems(tmp_path / "pretended", repository, request.param, journal=False)
    monkeypatch.setattr(durability, "SYSTEM", systems)
    return str(request.param)


def place(one: AnnexStore) -> Path:
    return Path(os.fsdecode(one.layout.find(KEY)))


def check_name_durable(order: DiskOrder, one: AnnexStore, file_system: str, *, after: int = -1) -> None:
    """The directories from the object's up to the directory of objects were fsynced, after that event."""
    path = place(one)
    for directory in [*path.parents][: 4 if file_system == "btrfs" else 1]:
        assert any(n > after for n in order.fsynced(directory)), directory


async def test_an_upload_is_durable_before_it_is_reported(repository: Path, file_system: str) -> None:
    async with AnnexStore(repository) as one:
        with disk_order() as order:
            await store(one, CONTENT, KEY)
        order.check_durable(place(one))
        check_name_durable(order, one, file_system, after=order.renamed(place(one)))
        assert order.fsynced(annex(repository)), "git-annex may have made the directory of objects"
    async with AnnexStore(repository) as another:
        with disk_order() as order:
            assert isinstance(await another.put(KEY), AlreadyHave)
        check_name_durable(order, another, file_system)
        assert order.fsynced(annex(repository))


async def test_a_lock_is_durable_before_it_is_given(repository: Path, file_system: str) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
    async with AnnexStore(repository) as one:
        with disk_order() as order:
            lock = await one.lock(KEY)
        check_name_durable(order, one, file_system)
        own = annex(repository) / "p2pannex"
        (record,) = (own / "retention" / str(KEY)).iterdir()
        order.check_durable(record)
        order.check_durable(f"{place(one)}.rtm")
        assert order.renamed(own / "written" / str(KEY)) < order.renamed(f"{place(one)}.rtm")
        if file_system == "btrfs":
            assert order.fsynced(own / "retention")
        await lock.release()


async def test_a_later_timestamp_of_another_program_is_made_durable(repository: Path) -> None:
    """The other program may have been killed before it could fsync."""
    clock = ManualClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        place(one).parent.chmod(0o755)
        place(one).with_name(place(one).name + ".rtm").write_text(f"{clock.wall() + 700}s")
        with disk_order() as order:
            lock = await one.lock(KEY)
        (record,) = (annex(repository) / "p2pannex" / "retention" / str(KEY)).iterdir()
        assert order.fsynced(place(one).parent)[-1] > order.renamed(record)
        await lock.release()


async def test_each_process_makes_the_directories_of_records_durable(repository: Path, file_system: str) -> None:
    """Another one may have made them, and have been killed before it could fsync."""
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        await (await one.lock(KEY)).release()
    async with AnnexStore(repository) as another:
        with disk_order() as order:
            await (await another.lock(KEY)).release()
        own = annex(repository) / "p2pannex"
        for directory in (own / "retention", *([own, own.parent] if file_system == "btrfs" else [])):
            assert order.fsynced(directory), directory


async def test_the_directory_of_tokens_is_durable(repository: Path, file_system: str) -> None:
    one = AnnexStore(repository)
    with disk_order() as order:
        own = Path(os.fsdecode(one.tokens_directory()))
    assert order.fsynced(own)
    if file_system == "btrfs":
        assert order.fsynced(own.parent)
        assert order.fsynced(own.parent.parent)
