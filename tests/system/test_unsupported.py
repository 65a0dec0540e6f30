"""File systems that lack a system call: each error that says so, at each call, in both kinds of store."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from p2pannex.access import TokenFile
from p2pannex.service import AlreadyHave
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.file_locks import NoFileLocks
from p2pannex.system.unsupported import UNSUPPORTED, chmod, is_unsupported, rename
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.transfer.receiving_file import ReceivingFile
from tests.stores.annex.repository import make
from tests.support.disk_order import disk_order

CONTENT = b"content on a file system that lacks something"
KEY = key_of(CONTENT)

ERRORS = sorted({errno.errorcode[number] for number in UNSUPPORTED})

Shim = Callable[[str, Callable[..., bool], int], None]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Shim:
    """Let a function of `os` or `fcntl` fail with an error, where `when` is true of its arguments."""

    def shim(name: str, when: Callable[..., bool], number: int) -> None:
        module = fcntl if name in ("flock", "fcntl") else os
        real = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if when(*arguments):
                raise OSError(number, os.strerror(number))
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    return shim


@pytest.fixture(params=["directory", "annex"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store that was made before anything was lacking."""
    path = tmp_path / "store"
    if request.param == "directory":
        DirectoryStore.create(path)
    else:
        make(path)
    return path


def opened(place: Path) -> ObjectStore:
    return AnnexStore(place) if (place / ".git").exists() else DirectoryStore(place)


def of_directory(fd: int, *_: Any) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def always(*_: Any) -> bool:
    return True


async def use(place: Path) -> None:
    """Store, lock, refuse a removal, unlock, remove: as on any file system."""
    service = opened(place)
    try:
        assert await store(service, CONTENT) == KEY
        assert isinstance(await service.put(KEY), AlreadyHave)
        lock = await service.lock(KEY)
        assert lock is not None
        assert not (await service.remove(KEY)).ok
        await lock.release()
        assert await fetch(service, KEY) == CONTENT
        assert (await service.remove(KEY)).ok
        await store(service, CONTENT)
    finally:
        await service.aclose()


@pytest.mark.parametrize("error", ERRORS)
async def test_fsync_of_directories(place: Path, lacking: Shim, error: str) -> None:
    lacking("fsync", of_directory, getattr(errno, error))
    await use(place)
    assert await fetch(opened(place), KEY) == CONTENT


@pytest.mark.parametrize("error", ERRORS)
async def test_fsync_of_files_too(place: Path, lacking: Shim, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    lacking("fsync", always, getattr(errno, error))
    await use(place)
    assert synced, "all file systems were synced instead"


@pytest.mark.parametrize("error", ERRORS)
async def test_permissions(place: Path, lacking: Shim, error: str) -> None:
    for name in ("chmod", "fchmod"):
        lacking(name, always, getattr(errno, error))
    await use(place)


async def test_an_error_of_the_disk_is_one(place: Path, lacking: Shim) -> None:
    """EIO says that something is wrong with the content's name: the upload fails, and can be tried again."""
    from p2pannex.errors import RemoteError

    lacking("fsync", of_directory, errno.EIO)
    service = opened(place)
    with pytest.raises(RemoteError, match="input/output error"):
        await store(service, CONTENT)
    assert not await service.check_present(KEY)
    await service.aclose()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the test's."""
    try:
        directory = tempfile.TemporaryDirectory(dir="/dev/shm")
    except OSError:
        pytest.skip("there is no /dev/shm")
    with directory as name:
        if os.stat(name).st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is on the same file system")
        yield Path(name)
        for path in Path(name).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


@pytest.mark.parametrize("moved", ["objects", "tmp"])
async def test_objects_or_partials_on_another_file_system(place: Path, elsewhere: Path, moved: str) -> None:
    annex = place / ".git/annex" if (place / ".git").exists() else place / "annex"
    annex.mkdir(exist_ok=True)
    if (annex / moved).exists():
        (annex / moved).rmdir()
    (annex / moved).symlink_to(elsewhere)
    await use(place)
    path = next((annex / "objects").resolve().rglob(os.fsdecode(KEY.file_name) + "/*"))
    assert path.read_bytes() == CONTENT
    assert not path.stat().st_mode & 0o222
    assert not list(elsewhere.rglob("p2pannex.*")), "no temporary file is left"
    assert not [file for file in (annex / "tmp").iterdir() if file.stat().st_size]


def test_a_copy_that_fails_leaves_the_source(tmp_path: Path, elsewhere: Path, lacking: Shim) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    lacking("fsync", always, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        rename(os.fsencode(source), os.fsencode(elsewhere / "target"), os.fsencode(elsewhere / "new"))
    assert source.read_bytes() == CONTENT
    assert not list(elsewhere.iterdir())


def test_a_copy_is_whole_and_durable_before_the_source_is_removed(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", elsewhere / "target"
    source.write_bytes(CONTENT)
    real_write, real_rename = os.write, os.rename

    def short(fd: int, data: bytes) -> int:
        return real_write(fd, data[:10])

    def checked(one: bytes, other: bytes) -> None:
        assert source.read_bytes() == CONTENT, "a crash at any moment leaves it"
        real_rename(one, other)

    monkeypatch.setattr(os, "write", short)
    monkeypatch.setattr(os, "rename", checked)
    with disk_order() as order:
        rename(os.fsencode(source), os.fsencode(target), os.fsencode(elsewhere / "new"))
    assert target.read_bytes() == CONTENT
    assert not source.exists()
    assert order.fsynced(elsewhere / "new")[0] < order.renamed(target)


def test_an_error_of_the_disk_at_chmod_is_one(tmp_path: Path, lacking: Shim) -> None:
    lacking("chmod", always, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        chmod(os.fsencode(tmp_path), 0o755)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_errors_that_do_not_mean_lacking_support(number: int) -> None:
    assert not is_unsupported(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("error", sorted(set(ERRORS) - {"EPERM"}))
def test_without_file_locks_a_store_is_refused_at_once(tmp_path: Path, place: Path, lacking: Shim, error: str) -> None:
    for name in ("flock", "fcntl"):
        lacking(name, always, getattr(errno, error))
    with pytest.raises(NoFileLocks, match=r"no file locks .* annex\.pidlock"):
        opened(place)
    with pytest.raises(NoFileLocks):
        DirectoryStore.create(tmp_path / "new")
    assert not (tmp_path / "new/p2pannex.toml").exists()


@pytest.mark.parametrize("error", ERRORS)
def test_tokens_without_file_locks(tmp_path: Path, lacking: Shim, error: str) -> None:
    lacking("flock", always, getattr(errno, error))
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create(name="one")
    assert tokens.verify(token) == grant
    assert not (tmp_path / "p2pannex.access.locked").exists()
    (tmp_path / "p2pannex.access.locked").touch()
    os.utime(tmp_path / "p2pannex.access.locked", (0, 0))
    tokens.create(name="two")  # a killed process had left it
    assert len(tokens.grants()) == 2


@pytest.mark.parametrize("lacks", ["fsync", "flock", "link"])
@pytest.mark.parametrize("error", ERRORS)
async def test_receiving_into_a_file(tmp_path: Path, lacking: Shim, lacks: str, error: str) -> None:
    lacking(lacks, always, getattr(errno, error))
    with closing(await ReceivingFile.open(tmp_path / "file", KEY)) as file:
        await file.send_all(memoryview(CONTENT))
        await file.commit()
    assert (tmp_path / "file").read_bytes() == CONTENT
    with closing(await ReceivingFile.open(tmp_path / "another", KEY)) as file:
        await file.send_all(memoryview(CONTENT[:10]))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == (2 if lacks != "flock" else 1), "without locks nothing is resumed from, and nothing left"
