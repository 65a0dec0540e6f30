"""What a store vouches for: protected objects, and those that it verified anew. Bit rot, and edited objects."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.service import AlreadyHave, NotLocked, NotStored, Service, Stored, Upload
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files import hashing, vouching
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.files.vouching import HASH_FIRST, SUSPECT, Finding
from p2pannex.testing.samples import fetch, key_of, offer, sample, store
from p2pannex.testing.serving import served
from tests.stores.annex.repository import make
from tests.support.disk_order import disk_order

Open = Callable[[], ObjectStore]

SIZES = [10, HASH_FIRST + 100_000]
"""Of an object that is hashed before it is given out, and of one that is hashed meanwhile."""

LONG_AGO = 1_600_000_000


@pytest.fixture(params=["directory", "annex", "bare annex"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a store on the same directory each time, as another process would."""
    path = tmp_path / "store"
    if request.param == "directory":
        DirectoryStore.create(path)
        return lambda: DirectoryStore(path)
    make(path, *(["--bare"] if request.param == "bare annex" else []))
    return lambda: AnnexStore(path)


def object_of(one: ObjectStore, key: Key) -> Path:
    return Path(os.fsdecode(one.layout.find(key)))


def bad_of(one: ObjectStore, key: Key) -> Path:
    return Path(os.fsdecode(one.layout.root)).parent / "bad" / os.fsdecode(key.file_name)


def rot(path: Path, content: bytes) -> bytes:
    """Change some bytes of an object, and nothing that lstat shows but its inode's change time."""
    before = path.stat()
    wrong = b"ROT!" + content[4:]
    path.chmod(0o644)
    path.write_bytes(wrong)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return wrong


def edit_in_place(path: Path, content: bytes, tmp_path: Path) -> Path:
    """Make the object a hard link to a file of the work tree, as annex.thin does, and edit that."""
    path.chmod(0o644)
    file = tmp_path / "file"
    os.link(path, file)
    with open(file, "r+b") as writable:
        writable.write(b"EDIT")
    return file


async def receive(service: Service, key: Key, *, received: bool, offset: int = 0, read: bool = True) -> bytes | None:
    """GET, and a receipt. The content, or None if the service did not vouch for it."""
    async with await service.get(key, offset=offset) as download:
        content = bytearray()
        block = memoryview(bytearray(1 << 20))
        while read and (count := await download.readinto(block)):
            content += block[:count]
        valid = await download.valid()
        await download.finish(received)
    return bytes(content) if valid else None


async def check_unlockable(service: Service, key: Key) -> None:
    with pytest.raises(NotLocked):
        await service.lock(key)


async def check_absent(service: Service, key: Key) -> None:
    assert not await service.check_present(key)
    await check_unlockable(service, key)
    assert await fetch(service, key) is None
    upload = await service.put(key)
    assert isinstance(upload, Upload)
    async with upload:
        assert await upload.data_present() == NotStored()


async def check_present(service: Service, key: Key, content: bytes) -> None:
    assert await service.check_present(key)
    assert await fetch(service, key) == content
    async with await service.lock(key):
        pass
    assert isinstance(await service.put(key), AlreadyHave)


# Bit rot ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 5, "size"])
@pytest.mark.parametrize("another_process", [False, True])
async def test_a_copy_that_a_client_found_wrong_is_not_vouched_for_again(
    opened: Open, size: int, offset: int | str, another_process: bool
) -> None:
    content = sample(size)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        wrong = rot(object_of(one, key), content)
        start = size if offset == "size" else int(offset)
        assert await receive(one, key, received=False, offset=start) == wrong[start:]
        then = other if another_process else one
        await check_absent(then, key)
        assert not object_of(one, key).exists()
        assert bad_of(one, key).read_bytes() == wrong
        assert not bad_of(one, key).stat().st_mode & SUSPECT
        # A put of the good content repairs it.
        assert await offer(then, content, key) == Stored()
        await check_present(one, key, content)
        await check_present(other, key, content)


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_of_a_wrong_copy_is_given_out_again(opened: Open, size: int) -> None:
    """However large it is, it is hashed before its first byte is sent: a cluster then gets it from another node."""
    content = sample(size)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        rot(object_of(one, key), content)
        await receive(one, key, received=False)
        async with await other.get(key) as download:
            assert not await download.readinto(memoryview(bytearray(100)))


@pytest.mark.parametrize("request_name", ["check_present", "lock", "get", "put", "verify"])
async def test_each_request_finds_out(opened: Open, request_name: str) -> None:
    async with opened() as one, opened() as other:
        key = await store(one, b"some content")
        rot(object_of(one, key), b"some content")
        await receive(one, key, received=False)
        if request_name == "get":
            assert await fetch(other, key) is None
        elif request_name == "put":
            upload = await other.put(key)
            assert isinstance(upload, Upload)
            await upload.aclose()
        elif request_name == "lock":
            await check_unlockable(other, key)
        else:
            assert not await getattr(other, request_name)(key)
        assert bad_of(one, key).exists()
        assert not object_of(one, key).exists()


@pytest.mark.parametrize("size", SIZES)
async def test_a_good_copy_is_verified_once(opened: Open, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a client's FAILURE for reasons of its own."""
    content = sample(size)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        before = object_of(one, key).stat()
        assert await receive(one, key, received=False) == content
        assert object_of(one, key).stat().st_mode == before.st_mode | SUSPECT
        hashed = count_hashed(monkeypatch)
        await check_present(other, key, content)
        await check_present(one, key, content)
        assert sum(hashed) == size
        assert object_of(one, key).stat().st_mode == before.st_mode
        assert not bad_of(one, key).exists()


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    hashed: list[int] = []
    hash_to = hashing.hash_to

    def counting(fd: int, verifier: Verifier, end: int) -> bool:
        hashed.append(end - verifier.received)
        return hash_to(fd, verifier, end)

    monkeypatch.setattr(hashing, "hash_to", counting)
    return hashed


async def test_what_is_no_sign_of_rot(opened: Open) -> None:
    """A receipt, and a receiver that stopped before the last byte."""
    content = sample(200_000)
    async with opened() as one:
        key = await store(one, content)
        assert await receive(one, key, received=True) == content
        await receive(one, key, received=False, read=False)
        assert not object_of(one, key).stat().st_mode & SUSPECT
        async with await one.get(key) as download:
            await download.readinto(memoryview(bytearray(100)))
        assert not object_of(one, key).stat().st_mode & SUSPECT
        worm = Key.parse("WORM-s4-m1--nothing to compare")
        await store(one, b"worm", worm)
        await receive(one, worm, received=False)
        assert not object_of(one, worm).stat().st_mode & SUSPECT


@pytest.mark.parametrize("version", range(5))
async def test_the_receipt_reaches_the_store_from_every_client(opened: Open, version: int) -> None:
    content = sample(100_000)
    async with opened() as one, served(one, version=version, transport="pipe") as remote:
        key = await store(one, content)
        rot(object_of(one, key), content)
        await receive(remote, key, received=False)
        assert not await remote.check_present(key)
        assert bad_of(one, key).exists()


async def test_only_one_verification_at_a_time(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among tasks and, as the lock belongs to the open file, processes. The others take over what it found."""
    content = sample(HASH_FIRST + 1)
    running = threading.Lock()
    hash_to = hashing.hash_to
    times = 0

    def alone(fd: int, verifier: Verifier, end: int) -> bool:
        nonlocal times
        assert running.acquire(blocking=False), "two at a time"
        times += 1
        whole = hash_to(fd, verifier, end)
        running.release()
        return whole

    monkeypatch.setattr(hashing, "hash_to", alone)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        await receive(one, key, received=False)
        async with trio.open_nursery() as nursery:
            for each in (one, other, one, other):
                nursery.start_soon(each.check_present, key)
        assert times == 1


HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"


@pytest.mark.parametrize("holder", ["this process", "another process"])
async def test_a_long_verification_of_this_user_is_waited_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    """Content of a terabyte is hashed for hours. A second verification of it would only slow the first one down."""
    monkeypatch.setattr(vouching, "LONGEST_WAIT", 0.1)
    content = sample(HASH_FIRST + 1)
    async with opened() as one:
        key = await store(one, content)
        await receive(one, key, received=False)
        hashed = count_hashed(monkeypatch)
        with ExitStack() as stack:
            if holder == "this process":
                fcntl.flock(stack.enter_context(object_of(one, key).open("rb")), fcntl.LOCK_EX)
            else:
                command = [sys.executable, "-c", HOLD, str(object_of(one, key))]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                stack.enter_context(process)
                assert process.stdout is not None
                process.stdout.readline()
            with trio.move_on_after(0.6) as scope:
                await one.check_present(key)
            assert scope.cancelled_caught
            assert not hashed
        await check_present(one, key, content)


async def test_a_lock_that_is_not_of_this_user_is_waited_for_a_minute(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who may read the object can lock it, for ever."""
    monkeypatch.setattr(vouching, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(vouching, "locked_by_this_user", lambda fd: False)
    content = sample(HASH_FIRST + 1)
    async with opened() as one:
        key = await store(one, content)
        await receive(one, key, received=False)
        with object_of(one, key).open("rb") as file, trio.fail_after(5):
            fcntl.flock(file, fcntl.LOCK_EX)
            await check_present(one, key, content)


async def test_a_verification_can_be_cancelled(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "STEP", 1 << 16)
    content = sample(HASH_FIRST + 1)
    async with opened() as one:
        key = await store(one, content)
        await receive(one, key, received=False)
        hashed = count_hashed(monkeypatch)
        with trio.move_on_after(0) as scope:
            await one.check_present(key)
        assert scope.cancelled_caught
        assert len(hashed) <= 1
        assert object_of(one, key).stat().st_mode & SUSPECT, "it is still to be verified"
        await check_present(one, key, content)


async def test_where_the_mark_cannot_be_set_the_process_remembers(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of another user, or a file system without permissions."""

    def refused(fd: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    content = b"some content"
    async with opened() as one:
        key, good = await store(one, content), await store(one, b"other content")
        rot(object_of(one, key), content)
        monkeypatch.setattr(os, "fchmod", refused)
        await receive(one, key, received=False)
        await receive(one, good, received=False)
        await check_absent(one, key)
        assert await one.check_present(good)
        assert await fetch(one, good) == b"other content"
        assert not object_of(one, good).stat().st_mode & SUSPECT


async def test_a_wrong_copy_that_cannot_be_moved_stays_suspect(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as one, opened() as other:
        key = await store(one, b"some content")
        rot(object_of(one, key), b"some content")
        await receive(one, key, received=False)

        def refused(key: Key, path: bytes) -> bytes:
            raise OSError(30, "Read-only file system")

        for each in (one, other):
            monkeypatch.setattr(each.layout, "quarantine", refused)
            assert not await each.check_present(key)
            await check_unlockable(each, key)
            assert await fetch(each, key) is None
        assert object_of(one, key).exists()


async def test_verification_at_rest(opened: Open) -> None:
    """As for ``fsck``: it reads objects that are not suspect, too."""
    async with opened() as one:
        key, wrong = await store(one, b"good content"), await store(one, b"other content")
        rot(object_of(one, wrong), b"other content")
        assert await one.check_present(wrong), "nothing has looked at it yet"
        assert (await one.verify_object(key)).finding is Finding.GOOD
        assert (await one.verify_object(wrong)).finding is Finding.WRONG
        assert (await one.verify_object(wrong)).finding is Finding.ABSENT
        assert await one.verify(key)
        assert not await one.verify(wrong)
        assert bad_of(one, wrong).exists()


# Objects that others may have changed ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", [0o644, 0o444])
async def test_an_object_that_was_edited_in_place_is_not_vouched_for(
    opened: Open, size: int, mode: int, tmp_path: Path
) -> None:
    """Permissions alone, and the number of links alone, tell it."""
    content = sample(size)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        file = edit_in_place(object_of(one, key), content, tmp_path)
        file.chmod(mode)
        for each in (one, other):
            for offset in (0, 5, size, size + 5):
                assert await receive(each, key, received=False, offset=offset) is None
            await check_absent(each, key)
        edited = b"EDIT" + content[4:]
        assert file.read_bytes() == edited, "the file is its owner's"
        assert not file.stat().st_mode & SUSPECT
        assert object_of(one, key).exists(), "git annex fsck leaves it as well"
        assert await offer(one, content, key) == Stored()
        await check_present(other, key, content)
        assert file.read_bytes() == edited


@pytest.mark.parametrize("mode", [0o644, 0o464, 0o446])
async def test_an_object_that_anyone_may_write_to_is_verified(opened: Open, mode: int) -> None:
    """Its owner, its group, or all: with one link, the permissions alone tell it."""
    content = sample(10)
    async with opened() as one:
        key = await store(one, content)
        rot(object_of(one, key), content)
        object_of(one, key).chmod(mode)
        await check_absent(one, key)
        assert bad_of(one, key).exists()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("mode", [0o444, 0o644, 0o464, 0o446])
async def test_an_unedited_object_is_vouched_for(
    opened: Open, size: int, links: int, mode: int, tmp_path: Path
) -> None:
    content = sample(size)
    async with opened() as one, opened() as other:
        key = await store(one, content)
        path = object_of(one, key)
        path.chmod(mode)
        if links == 2:
            os.link(path, tmp_path / "file")
        for each in (one, other):
            await check_present(each, key, content)
            assert await receive(each, key, received=True, offset=5) == content[5:]


async def test_what_was_verified_is_remembered_until_it_changes(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = sample(1000)
    hashed = count_hashed(monkeypatch)
    async with opened() as one:
        key = await store(one, content)
        path = object_of(one, key)
        os.link(path, tmp_path / "file")
        await one.check_present(key)
        await one.check_present(key)
        assert len(hashed) == 2, "it has changed so lately that another change could leave the same times"
        monkeypatch.setattr(vouching, "RACY", -(10**9))
        await one.check_present(key)
        hashed.clear()
        await check_present(one, key, content)
        assert not hashed
        monkeypatch.setattr(vouching, "RACY", 2 * 10**9)
        path.chmod(0o644)
        with open(path, "r+b") as writable:
            writable.write(b"EDIT")
        await check_absent(one, key)
        assert hashed


async def test_what_was_verified_is_not_vouched_for_after_a_change_that_set_its_time_back(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"some content"
    monkeypatch.setattr(vouching, "RACY", -(10**10))
    async with opened() as one:
        key = await store(one, content)
        path = object_of(one, key)
        os.link(path, tmp_path / "file")
        assert await one.check_present(key)
        await trio.sleep(0.02)  # the times of a file may be as coarse as that
        rot(path, content)
        assert not await one.check_present(key)


async def test_what_was_found_wrong_is_remembered(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = sample(1000)
    monkeypatch.setattr(vouching, "RACY", -(10**9))
    async with opened() as one:
        key = await store(one, content)
        edit_in_place(object_of(one, key), content, tmp_path)
        assert not await one.check_present(key)
        hashed = count_hashed(monkeypatch)
        await check_absent(one, key)
        assert not hashed


async def test_an_object_that_was_removed_during_another_verification_is_absent(opened: Open) -> None:
    findings: list[Finding] = []
    async with opened() as one:
        key = await store(one, b"some content")

        async def verify() -> None:
            findings.append((await one.verify_object(key)).finding)

        with open(object_of(one, key), "rb") as verified:
            fcntl.flock(verified, fcntl.LOCK_EX)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(verify)
                await trio.sleep(0.1)
                assert not findings, "it waits"
                assert (await one.remove(key)).ok
                fcntl.flock(verified, fcntl.LOCK_UN)
    assert findings == [Finding.ABSENT]


async def test_an_object_that_changes_while_it_is_hashed_is_an_error(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as one:
        key = await store(one, b"some content")
        path = object_of(one, key)
        path.chmod(0o644)
        hash_to = hashing.hash_to
        ticks = iter(range(1, 100))

        def changing(fd: int, verifier: Verifier, end: int) -> bool:
            whole = hash_to(fd, verifier, end)
            os.utime(path, ns=(0, LONG_AGO * 10**9 + next(ticks)))
            return whole

        monkeypatch.setattr(hashing, "hash_to", changing)
        with pytest.raises(RemoteError, match="another program changes it"):
            await one.check_present(key)


async def test_a_lock_is_refused_if_the_object_changed_after_it_was_verified(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as one:
        key = await store(one, b"some content")
        path = object_of(one, key)
        path.chmod(0o644)
        os.link(path, path.parent.parent / "file")
        same_object = one._same_object

        def edited(key: Key, vouched: os.stat_result) -> bytes | None:
            path.write_bytes(b"EDIT content")
            return same_object(key, vouched)

        monkeypatch.setattr(one, "_same_object", edited)
        await check_unlockable(one, key)


@pytest.mark.parametrize("backend", ["WORM", "URL", "XFOO"])
async def test_keys_without_a_digest(opened: Open, backend: str) -> None:
    """A writable object cannot be verified: only WORM keys say when the content was last changed."""
    key = Key.parse(f"{backend}-s4-m{LONG_AGO}--name")
    async with opened() as one:
        await store(one, b"worm", key)
        path = object_of(one, key)
        os.link(path, path.parent.parent / "file")
        await check_present(one, key, b"worm")  # read-only: it cannot have been edited
        path.chmod(0o644)
        for attempt in (one.check_present, one.lock, one.get, one.put):
            with pytest.raises(RemoteError, match="git annex lock"):
                await attempt(key)
        os.utime(path, (LONG_AGO, LONG_AGO))
        await check_present(one, key, b"worm")


async def test_an_object_whose_hash_cannot_be_computed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protected ones are given out; others are not vouched for."""
    import sys

    pytest.importorskip("xxhash")
    from xxhash import xxh3_64

    key = Key.make("XXH3", xxh3_64(b"hash").hexdigest(), size=4)
    async with opened() as one:
        await store(one, b"hash", key)
        monkeypatch.setitem(sys.modules, "xxhash", None)
        await check_present(one, key, b"hash")
        object_of(one, key).chmod(0o644)
        for attempt in (one.check_present, one.lock, one.get, one.put):
            with pytest.raises(RemoteError, match="pip install xxhash"):
                await attempt(key)


async def test_what_is_no_file_is_no_object(opened: Open, tmp_path: Path) -> None:
    async with opened() as one:
        for make_it in (os.mkdir, os.mkfifo, lambda path: os.symlink(tmp_path / "file", path)):
            key = key_of(repr(make_it).encode())
            path = object_of(one, key)
            path.parent.mkdir(parents=True)
            (tmp_path / "file").write_bytes(repr(make_it).encode())
            make_it(path)
            assert not await one.check_present(key)
            await check_unlockable(one, key)
            assert await fetch(one, key) is None
            assert (await one.verify_object(key)).finding is Finding.ABSENT


async def test_after_a_crash_before_the_object_was_made_read_only(tmp_path: Path) -> None:
    DirectoryStore.create(tmp_path / "store")
    async with DirectoryStore(tmp_path / "store") as one:
        key = await store(one, b"some content")
        object_of(one, key).chmod(0o644)
        await check_present(one, key, b"some content")
        assert stat.S_IMODE(object_of(one, key).stat().st_mode) == 0o444


# What happens between a look and the next step -------------------------------------------------------------------


async def wrong_object(one: ObjectStore, content: bytes) -> Key:
    """An object that is suspect, and wrong."""
    key = await store(one, content)
    rot(object_of(one, key), content)
    await receive(one, key, received=False)
    return key


@pytest.mark.parametrize("meanwhile", ["stored again", "repaired in place", "linked by its owner"])
async def test_only_the_object_that_was_found_wrong_is_moved_away(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    content = b"some content"
    async with opened() as one:
        key = await wrong_object(one, content)
        path = object_of(one, key)
        path.parent.chmod(0o755)
        quarantine = one._vouching._quarantine

        def late(key: Key, fd: int, status: os.stat_result) -> str | None:
            if meanwhile == "stored again":
                new = tmp_path / "new"
                new.write_bytes(content)
                new.chmod(0o444)
                new.replace(path)
            elif meanwhile == "repaired in place":
                path.chmod(0o644)
                path.write_bytes(content)
            else:
                os.link(path, tmp_path / "file")
            return quarantine(key, fd, status)

        monkeypatch.setattr(one._vouching, "_quarantine", late)
        assert not await one.check_present(key), "that is what was read"
        assert path.exists()
        assert not bad_of(one, key).exists()
        monkeypatch.undo()
        if meanwhile != "linked by its owner":
            await check_present(one, key, content)


async def test_the_move_of_a_wrong_object_is_durable(opened: Open) -> None:
    async with opened() as one:
        key = await wrong_object(one, b"some content")
        with disk_order() as order:
            assert not await one.check_present(key)
        bad = bad_of(one, key)
        assert order.fsynced(bad.parent)[-1] > order.renamed(bad)


async def test_the_log_is_told_what_was_moved_away_and_nothing_else(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as one:
        changes: list[tuple[Key, bool]] = []
        moved = await wrong_object(one, b"some content")
        stays = await store(one, b"other content")
        edit_in_place(object_of(one, stays), b"other content", tmp_path)

        async def changed(key: Key, present: bool) -> None:
            changes.append((key, present))

        monkeypatch.setattr(one, "changed", changed)
        assert not await one.check_present(moved)
        assert not await one.check_present(stays)
        assert changes == [(moved, False)]


async def test_a_mark_that_the_file_system_ignores_is_remembered(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT, for example, has no permissions, and reports no error."""
    async with opened() as one:
        key = await store(one, b"some content")
        rot(object_of(one, key), b"some content")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fchmod", lambda fd, mode: None)
            await receive(one, key, received=False)
        assert not object_of(one, key).stat().st_mode & SUSPECT
        assert not await one.check_present(key)


async def test_a_suspect_object_is_read_again_whatever_is_remembered(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client does not accept it while another still receives it, and its bytes are good."""
    content = sample(HASH_FIRST + 100_000)
    block = memoryview(bytearray(1 << 20))
    monkeypatch.setattr(vouching, "RACY", -(10**9))
    async with opened() as one:
        key = await store(one, content)
        object_of(one, key).chmod(0o644)
        monkeypatch.setattr(os, "fchmod", lambda fd, mode: None)
        async with await one.get(key) as download:
            while await download.readinto(block):
                pass
            assert await receive(one, key, received=False) == content
            assert await download.valid()
            await download.finish(True)
        hashed = count_hashed(monkeypatch)
        assert await one.check_present(key)
        assert hashed


async def test_a_doubt_ends_what_was_remembered_although_too_many_are_suspect(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouching, "RACY", -(10**10))
    monkeypatch.setattr(vouching, "SUSPECTS_MAX", 0)
    async with opened() as one:
        key = await store(one, b"some content")
        path = object_of(one, key)
        os.link(path, tmp_path / "file")
        assert await one.check_present(key)
        hashed = count_hashed(monkeypatch)
        with open(path, "rb") as file:
            one._vouching.doubt(key, file.fileno())
        assert await one.check_present(key)
        assert hashed


async def test_a_doubt_ends_what_was_remembered(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rot changes no times. An object with two links cannot be marked, because its owner has the other one."""
    content = b"some content"
    async with opened() as one:
        key = await store(one, content)
        path = object_of(one, key)
        os.link(path, tmp_path / "file")
        monkeypatch.setattr(vouching, "RACY", -(10**10))
        assert await one.check_present(key)
        identity = vouching.identity
        known = path.stat()
        rot(path, content)

        def unchanged(status: os.stat_result) -> vouching.Identity:
            return identity(known) if status.st_ino == known.st_ino else identity(status)

        monkeypatch.setattr(vouching, "identity", unchanged)
        assert await one.check_present(key), "nothing shows it"
        await receive(one, key, received=False)
        assert not await one.check_present(key)
        assert not await one.check_present(key), "the verdict is remembered as well"


async def test_permissions_that_say_nothing(tmp_path: Path) -> None:
    """With annex.crippledfilesystem every object is writable. The mark, and other links, still count."""
    make(tmp_path / "store", annex_crippledfilesystem="true")
    async with AnnexStore(tmp_path / "store") as one:
        key = await store(one, b"some content")
        object_of(one, key).chmod(0o644)
        assert one._vouching.protected(object_of(one, key).stat())
        rot(object_of(one, key), b"some content")
        assert await one.check_present(key)
        await receive(one, key, received=False)
        assert not await one.check_present(key)
