"""The annex store: the contract of every Service, a repository's files and permissions, and what is refused.

The repositories are made with git alone. What git-annex makes of them is in ``tests/compat/test_annex_store.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.values import parse_size
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Lock, Service, Stored, Upload
from p2pannex.stores.annex.store import AnnexStore, UnusableAnnex
from p2pannex.system.disk_work import Batched, DiskWork, Inline, InThreads
from p2pannex.system.file_locks import try_range
from p2pannex.testing.samples import fetch, key_of, store
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.serving import served
from p2pannex.urls import open_url

UUID = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
CONTENT = b"content"
MORE = key_of(b"more")
KEY = Key(b"SHA256-s7--" + hashlib.sha256(CONTENT).hexdigest().encode())


class SkewedClock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def monotonic(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000 + self.time


def git(*words: str | Path, check: bool = True) -> str:
    return subprocess.run(["git", *words], check=check, capture_output=True, text=True).stdout


def make(path: Path, *options: str, **settings: str) -> Path:
    """A repository of git, with the settings that make it one of git-annex. ``annex_version="8"`` is annex.version."""
    git("init", "-q", *options, path)
    values = {"annex.uuid": UUID, "annex.version": "10", "user.name": "me", "user.email": "me@localhost"}
    for name, value in {**values, **{name.replace("_", "."): value for name, value in settings.items()}}.items():
        git("-C", path, "config", name, value)
    return path


@pytest.fixture(params=["bare", "with a work tree"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make(tmp_path / "repository", *(["--bare"] if request.param == "bare" else []))


def annex(repository: Path) -> Path:
    return (repository / ".git" if (repository / ".git").exists() else repository) / "annex"


def beside(store: AnnexStore, key: Key = KEY) -> set[str]:
    """What lies beside the object: the endings of the files' names."""
    directory = Path(os.fsdecode(store.layout.find(key))).parent
    if not directory.exists():
        return set()
    return {path.name.removeprefix(os.fsdecode(key.file_name)) for path in directory.iterdir()}


def mode(path: Path | bytes) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def locked(store: AnnexStore, key: Key = KEY) -> Lock:
    lock = await store.lock(key)
    assert lock is not None
    return lock


# The contract ----------------------------------------------------------------------------------------------------


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


# Files and permissions -------------------------------------------------------------------------------------------


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


async def test_a_link_to_nowhere_in_the_way_is_an_error(repository: Path) -> None:
    """And not a recursion without end."""
    objects = annex(repository) / "objects"
    objects.parent.mkdir(exist_ok=True)
    objects.symlink_to("nowhere")
    async with AnnexStore(repository) as service:
        with pytest.raises(RemoteError):
            await store(service, b"content")


async def test_changes_are_logged_before_they_are_reported_and_committed_at_the_end(repository: Path) -> None:
    log = f"{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log"
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        (journal,) = (annex(repository) / "journal").iterdir()
        assert journal.read_text().endswith(f"s 1 {UUID}\n")
    assert [*(annex(repository) / "journal").iterdir()] == []
    assert git("-C", repository, "show", f"git-annex:{log}").endswith(f"s 1 {UUID}\n")
    async with AnnexStore(repository, disk_work=Inline()) as one:
        assert (await one.remove(KEY)).ok
        (journal,) = (annex(repository) / "journal").iterdir()
        assert f"s 0 {UUID}\n" in journal.read_text()
    assert f"s 0 {UUID}\n" in git("-C", repository, "show", f"git-annex:{log}")


async def test_the_log_is_committed_when_nothing_happens_any_more(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        with trio.fail_after(30):
            while [*(annex(repository) / "journal").iterdir()]:  # noqa: ASYNC110 - git works in a process of its own
                await trio.sleep(0.1)
        assert UUID in git("-C", repository, "show", f"git-annex:{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log")


# Locks -----------------------------------------------------------------------------------------------------------


async def test_files_of_a_lock(repository: Path) -> None:
    clock = SkewedClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        async with await locked(one):
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}
            path = one.layout.find(KEY)
            assert Path(os.fsdecode(path + b".rtm")).read_bytes() == b"%.6fs" % (clock.wall() + 600)
            assert mode(os.path.dirname(path)) == 0o555
            with open(path + b".lck", "rb+") as file:
                assert try_range(file.fileno(), fcntl.F_RDLCK), "others may keep it too"
                assert not try_range(file.fileno(), fcntl.F_WRLCK), "nobody may remove it"
        assert beside(one) == {""}
        assert mode(os.path.dirname(path)) == 0o555


async def test_one_unlock_does_not_end_what_a_lost_client_was_promised(repository: Path) -> None:
    """There is one time for all locks in git-annex's file: it stays while any promise is left."""
    clock = SkewedClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        lost = await locked(one)
        await lost.aclose()
        clock.time += 100
        async with await locked(other):
            pass
        assert ".rtm" in beside(one)
        assert not (await other.remove(KEY)).ok
        clock.time += 499
        assert not (await other.remove(KEY)).ok
        clock.time += 102  # the second promise was for longer, and its time stood for both
        assert (await one.remove(KEY)).ok
    assert beside(one) == set()


async def test_the_lock_of_a_lost_client_is_let_go_in_time(
    repository: Path, mock_clock: trio.testing.MockClock
) -> None:
    """While we hold it, git-annex's own unlock does not end the promise; and then it must be able to remove it."""
    clock = SkewedClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        await (await locked(one)).aclose()
        with open(one.layout.find(KEY) + b".lck", "rb+") as file:
            assert not try_range(file.fileno(), fcntl.F_WRLCK)
            await trio.testing.wait_all_tasks_blocked()
            clock.time += 601
            mock_clock.jump(601)
            await trio.testing.wait_all_tasks_blocked()
            assert try_range(file.fileno(), fcntl.F_WRLCK)


@pytest.mark.parametrize("first", [0, 1])
async def test_the_last_unlock_takes_the_time_away(repository: Path, first: int) -> None:
    clock = SkewedClock()
    async with AnnexStore(repository, clock=clock) as one, AnnexStore(repository, clock=clock) as other:
        await store(one, CONTENT, KEY)
        locks = [await locked(one)]
        clock.time += 100
        locks.append(await locked(other))
        async with locks[1 - first]:
            async with locks[first]:
                pass
            assert ".rtm" in beside(one)
            assert not (await one.remove(KEY)).ok
        assert beside(one) == {""}
        assert (await other.remove(KEY)).ok


@pytest.mark.parametrize("later", [False, True])
async def test_a_time_that_others_wrote_is_honoured_and_left(repository: Path, later: bool) -> None:
    clock = SkewedClock()
    async with AnnexStore(repository, clock=clock) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        path.parent.chmod(0o755)
        rtm = path.with_name(path.name + ".rtm")
        rtm.write_text(f"{clock.wall() + (700 if later else 500)}s")
        assert not (await one.remove(KEY)).ok
        async with await locked(one):
            assert float(rtm.read_text().rstrip("s")) == clock.wall() + (700 if later else 600)
        assert beside(one) == {"", ".rtm"}, "theirs was a promise too"
        clock.time += 499
        assert not (await one.remove(KEY)).ok
        clock.time += 202
        assert (await one.remove(KEY)).ok


async def test_a_time_that_makes_no_sense_counts_from_its_file(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = Path(os.fsdecode(one.layout.find(KEY)))
        path.parent.chmod(0o755)
        rtm = path.with_name(path.name + ".rtm")
        rtm.write_text("soon")
        assert not (await one.remove(KEY)).ok
        os.utime(rtm, (1, 1))
        assert (await one.remove(KEY)).ok


async def test_what_others_keep_is_kept_and_what_they_remove_is_not_locked(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        path = one.layout.find(KEY)
        os.chmod(os.path.dirname(path), 0o755)
        with open(path + b".lck", "wb+") as file:
            assert try_range(file.fileno(), fcntl.F_RDLCK)
            assert not (await one.remove(KEY)).ok
            async with await locked(one):
                pass
            assert beside(one) == {"", ".lck", ".rtm", ".rtl"}, "whoever still keeps it may have relied on it"
            assert try_range(file.fileno(), fcntl.F_WRLCK)
            assert await one.lock(KEY) is None


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


# The location log ------------------------------------------------------------------------------------------------


async def test_committed_without_a_block(repository: Path) -> None:
    one = AnnexStore(repository)
    await store(one, CONTENT, KEY)
    assert list((annex(repository) / "journal").iterdir())
    await one.aclose()
    assert not list((annex(repository) / "journal").iterdir())


@pytest.mark.parametrize("way", [InThreads, Inline])
async def test_a_line_of_others_that_came_late_is_corrected(repository: Path, way: type[DiskWork]) -> None:
    """git-annex logs after having stored or removed the content, and then both may not be true any more."""
    async with AnnexStore(repository, disk_work=way()) as one, Branch(one.config.git_dir) as late:
        await store(one, CONTENT, KEY)
        await late.log_location(KEY, UUID, False)
        await store(one, b"more", MORE)
        assert (await one.remove(MORE)).ok
        await late.log_location(MORE, UUID, True)
        await late.commit()
    async with Branch(one.config.git_dir) as branch:
        assert await branch.locations(KEY) == {UUID}
        assert await branch.locations(MORE) == set()


async def test_in_use_twice(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        with pytest.raises(RuntimeError, match="another"):
            async with one:
                pass


# Settings --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, 7),
        ("", 7),
        ("much", 7),
        ("10 apples", 7),
        ("100 megabytes", 10**8),
        ("1 gigabyte", 10**9),
        ("1.5GB", 1_500_000_000),
        ("0.5tb", 5 * 10**11),
        ("512MiB", 1 << 29),
        ("1 gibibyte", 1 << 30),
        ("20k", 20_000),
        ("5 bytes", 5),
        ("0", 0),
    ],
)
def test_sizes(text: str | None, size: int) -> None:
    assert parse_size(text, 7) == size


# Which directories can be opened ---------------------------------------------------------------------------------


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


def refused(path: Path) -> str:
    with pytest.raises(UnusableAnnex) as caught:
        AnnexStore(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path.parent), "@")


@pytest.mark.parametrize("version", ["8", "9", ""])
def test_older_versions(tmp_path: Path, version: str) -> None:
    message = refused(make(tmp_path / "r", annex_version=version))
    assert message.startswith(f"@/r is a git-annex repository of version {version or 'unknown'}; upgrade it to 10 with")
    assert "git annex upgrade" in message


def test_newer_versions(tmp_path: Path) -> None:
    assert refused(make(tmp_path / "r", annex_version="11")) == (
        "@/r is a git-annex repository of version 11; only 10 is supported"
    )


def test_tuned_repositories(tmp_path: Path) -> None:
    assert "annex.tune.objecthash1" in refused(make(tmp_path / "r", **{"annex_tune.objecthash1": "true"}))


def test_no_uuid(tmp_path: Path) -> None:
    git("init", "-q", tmp_path / "r")
    assert refused(tmp_path / "r") == "@/r has no annex.uuid; make it a git-annex repository with: git annex init"


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    assert refused(tmp_path / "r") == "@/r is not a git repository"
    assert refused(tmp_path / "nothing") == "there is no @/nothing"


def test_no_repository_inside_of_one(tmp_path: Path) -> None:
    (make(tmp_path / "r") / "directory").mkdir()
    assert refused(tmp_path / "r" / "directory") == "@/directory is not a git repository"


def test_corrupt_config(tmp_path: Path) -> None:
    with open(make(tmp_path / "r") / ".git/config", "a") as config:
        config.write("corrupt[\n")
    assert refused(tmp_path / "r").startswith("git refuses to read @/r: bad config line ")


def test_worktrees(tmp_path: Path) -> None:
    repository = make(tmp_path / "r")
    git("-C", repository, "commit", "-q", "--allow-empty", "-m", "first")
    git("-C", repository, "worktree", "add", "-q", tmp_path / "tree")
    assert refused(tmp_path / "tree") == (
        "@/tree is a worktree or submodule whose .git is a file; serve the repository that it belongs to"
    )
    assert "is a worktree of another" in refused(repository / ".git/worktrees/tree")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to somebody else")
def test_somebody_elses_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "r")
    monkeypatch.setenv("HOME", str(tmp_path))  # without the user's own safe.directory
    monkeypatch.delenv("SUDO_UID", raising=False)
    subprocess.run(["chown", "-R", "12345", repository], check=True)
    message = refused(repository)
    assert message.startswith("git refuses to read @/r: detected dubious ownership")
    assert "git config --global --add safe.directory" in message


async def test_git_variables_of_others_do_not_lead_astray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make(tmp_path / "other", annex_uuid="other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.delenv("GIT_DIR")
    repository = make(tmp_path / "r")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    async with AnnexStore(repository) as one:
        assert one.uuid == UUID


def test_key_of_the_sample() -> None:
    assert key_of(CONTENT) == KEY
