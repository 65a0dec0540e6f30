"""The spool: files on their way to special remotes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.service import NotStored, Stored, Upload
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.files.partial_sweep import SWEPT
from p2pannex.system.file_locks import try_lock
from p2pannex.testing.samples import fetch, key_of, sample, store
from tests.stores.external.special_remote import Remote


async def test_what_could_not_be_delivered_is_not_sent_again(remote: Remote) -> None:
    content = sample(300_000)
    key = key_of(content)
    async with remote.open() as external:
        for how in ("fail-only", "exit", "garbage"):
            remote.trouble("TRANSFER", how, always=True)
            upload = await external.put(key)
            assert isinstance(upload, Upload)
            async with upload:
                await upload.begin(len(content) - upload.offset)
                await upload.send_all(memoryview(content)[upload.offset :])
                with pytest.raises(RemoteError):
                    await upload.finish(True)
            assert not await external.check_present(key)
        os.unlink(remote.path / "trouble" / "TRANSFER")
    async with remote.open() as external:
        upload = await external.put(key)
        assert isinstance(upload, Upload)
        async with upload:
            assert upload.offset == len(content)
            await upload.begin(0)
            assert isinstance(await upload.finish(True), Stored)
        assert await fetch(external, key, 1000) == content[1000:]
    assert not remote.spooled


async def test_one_spooled_file_is_handed_to_several(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    remotes = [Remote(tmp_path / name) for name in ("one", "two", "three")]
    content = sample(2 << 20)
    key = key_of(content)
    stores = [remote.open(spool) for remote in remotes]
    remotes[1].trouble("TRANSFER", "fail-only", always=True)
    outcomes: dict[int, str] = {}

    async def send(number: int, path: bytes) -> None:
        try:
            await stores[number].store_file(key, path)
            outcomes[number] = "stored"
        except RemoteError as error:
            outcomes[number] = str(error)

    async def deliver(path: bytes) -> Stored | NotStored:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(send, number, path)
        return Stored()

    async def present() -> bool:
        return False

    upload = await spool.upload(key, deliver, present)
    assert upload is not None
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content))
        assert len([path for path in (tmp_path / "spool").rglob("*") if path.is_file()]) == 1
        await upload.finish(True)
    assert outcomes[0] == outcomes[2] == "stored"
    assert outcomes[1].endswith("special remote cloud cannot store the content: the cloud is away")
    assert [await external.check_present(key) for external in stores] == [True, False, True]
    for external in stores:
        await external.aclose()


async def test_the_disk_reserve_is_kept(remote: Remote) -> None:
    spool = Spool(remote.path / "spool", disk_reserve=1 << 60)
    async with remote.open() as external:
        key = await store(external, sample(1 << 20))
    async with remote.open(spool) as external:
        with pytest.raises(RemoteError, match="not enough disk space"):
            await external.put(key_of(sample(1 << 20, seed=1)))
        with pytest.raises(RemoteError, match="not enough disk space"):
            await external.get(key)


def test_unused_files_in_the_spool_are_removed(tmp_path: Path) -> None:
    Spool(tmp_path)
    for name in ("up/old", "up/used", "up/new", "down/old", "down/new"):
        (tmp_path / name).write_bytes(b"x")
        if "new" not in name:
            os.utime(tmp_path / name, (0, 0))
    with (tmp_path / "up" / "used").open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        Spool(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["down/new", "up/new", "up/used"]


def test_to_open_a_spool_looks_at_a_bounded_number_of_files(tmp_path: Path) -> None:
    Spool(tmp_path)
    for number in range(3 * SWEPT):
        old = tmp_path / "up" / str(number)
        old.touch()
        os.utime(old, (0, 0))
    Spool(tmp_path)
    assert len(list((tmp_path / "up").iterdir())) == 2 * SWEPT


async def test_what_is_delivered_stays_locked_and_closed_to_other_users(tmp_path: Path) -> None:
    """Another process that sweeps, or uploads the same content, must not change it meanwhile."""
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool")
    finally:
        os.umask(before)
    for name in ("up", "down"):
        assert (tmp_path / "spool" / name).stat().st_mode & 0o077 == 0, name
    content = sample(300_000)
    outcomes: list[bool] = []

    async def deliver(path: bytes) -> Stored | NotStored:
        with open(path, "rb") as file:
            outcomes.append(try_lock(file.fileno()))
        os.utime(path, (0, 0))
        Spool(tmp_path / "spool")  # it sweeps what has not been written to for a week
        with open(path, "rb") as file:
            assert file.read() == content
        return NotStored()

    async def present() -> bool:
        return False

    upload = await spool.upload(key_of(content), deliver, present)
    assert upload is not None
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content))
        assert isinstance(await upload.finish(True), NotStored)
    assert outcomes == [False]
    assert len([*(tmp_path / "spool/up").iterdir()]) == 1, "what was not stored is not sent again"
