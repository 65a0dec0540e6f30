"""The git-annex branch: its logs as text, and read and written in a repository that plain git has made."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.branch import BlockingBranch, Branch
from p2pannex.git_annex.branch.cat_file import CatFile
from p2pannex.git_annex.branch.commit import commit_journal
from p2pannex.git_annex.logs.clock import format_clock, parse_clock
from p2pannex.git_annex.logs.location_log import LocationLog, merge_lines, merge_location_logs
from p2pannex.git_annex.logs.names import InvalidName, branch_path, is_location_log, journal_name, location_log_path
from p2pannex.keys.key import Key
from p2pannex.system.disk_work import Batched, DiskWork, Inline, InThreads

KEY = Key("SHA256E-s31390--f50d7ac4c6b9031379986bc362fcefb65f1e52621ce1708d537e740fefc59cc0.mp3")
OTHER_KEY = Key("SHA256-s3--2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")
A, B, C = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002", "c"

# Names ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_journal_names_lead_back_to_the_path(path: bytes) -> None:
    try:
        name = journal_name(path)
    except InvalidName:
        return
    assert b"/" not in name
    assert branch_path(name) == path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"uuid.log", b"uuid.log"),
        (b"f87/4d5/WORM--a_b.log", b"f87_4d5_WORM--a__b.log"),
        (b"a_/b", b"a___b"),
        (b"a__b", b"a____b"),
    ],
)
def test_journal_names(path: bytes, name: bytes) -> None:
    assert journal_name(path) == name
    assert branch_path(name) == path


@pytest.mark.parametrize("path", [b"", b"/a", b"a/", b"a/_b", b"a\nb", b"a\0b"])
def test_paths_that_the_journal_cannot_name(path: bytes) -> None:
    with pytest.raises(InvalidName):
        journal_name(path)


def test_the_path_of_a_location_log() -> None:
    key = Key("URL--http://x/y_z")
    assert location_log_path(key) == key.hashdir_lower + b"/URL--http&c%%x%y_z.log"
    assert is_location_log(location_log_path(key))
    for other in (b"uuid.log", b"aaa/bbb/" + KEY.file_name + b".log", location_log_path(KEY) + b".web", b"a/b/c.log"):
        assert not is_location_log(other)


# Location logs ----------------------------------------------------------------------------------------------------

clocks = st.builds(
    lambda whole, decimals, s: (f"{whole}.{decimals}" if decimals else f"{whole}") + s,
    st.integers(0, 3) | st.integers(0, 2**70),
    st.text("0123456789", max_size=12),
    st.sampled_from(["s", ""]),
)
good_lines = st.builds(lambda c, s, u: f"{c} {s} {u}".encode(), clocks, st.sampled_from("10X"), st.sampled_from([A, B]))
lines = good_lines | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
logs = st.lists(lines, max_size=8).map(lambda found: b"".join([line + b"\n" for line in found]))


@given(clocks, clocks)
def test_times_compare_exactly(one: str, other: str) -> None:
    first, second = parse_clock(one.encode()), parse_clock(other.encode())
    assert first is not None
    assert second is not None
    assert (first < second) == (Fraction(one.rstrip("s")) < Fraction(other.rstrip("s")))
    assert parse_clock(format_clock(first)) == first


@pytest.mark.parametrize("word", [b"", b"s", b".", b".5s", b"5.s", b"-1s", b"1e3s", b"1 s", b"1.2.3s", b"9" * 700])
def test_what_is_no_time(word: bytes) -> None:
    assert parse_clock(word) is None


def test_the_newest_line_counts_and_of_equals_the_first() -> None:
    log = LocationLog.parse(b"2s 0 a\n10s 1 a\n9.99s 0 a\n5s 1 b\n5.0s 0 b\n7s 1 c\n8s X c\nrubbish\n1s 1 d")
    assert log.present() == {"a", "b", "d"}
    assert log.compacted() == b"10s 1 a\n5s 1 b\n8s X c\n1s 1 d\nrubbish\n"


@given(logs)
def test_compaction_loses_nothing_that_counts(text: bytes) -> None:
    log = LocationLog.parse(text)
    again = LocationLog.parse(log.compacted())
    assert again == log
    assert {line for line in text.split(b"\n") if line} >= set(log.compacted().split(b"\n")) - {b""}


@given(logs, logs)
def test_merging_keeps_the_lines_of_both(ours: bytes, theirs: bytes) -> None:
    merged = merge_lines(ours, theirs)
    assert merged.startswith(ours)
    assert set(merged.split(b"\n")) == set(ours.split(b"\n")) | set(theirs.split(b"\n")) | {b""}
    assert merge_lines(merged, theirs) == merged
    assert merge_lines(merged, ours) == merged


@given(logs, logs)
def test_merging_location_logs_keeps_what_counts(ours: bytes, theirs: bytes) -> None:
    merged = LocationLog.parse(merge_location_logs(ours, theirs))
    for text in (ours, theirs):
        log = LocationLog.parse(text)
        assert set(log.unknown) <= set(merged.unknown)
        for uuid, line in log.newest.items():
            assert merged.newest[uuid].time >= line.time
    text = merged.compacted()
    assert merge_location_logs(text, theirs) == text
    assert merge_location_logs(text, ours) == text


@given(logs, st.sampled_from([A, B, "new"]), st.booleans(), st.integers(0, 2**62))
def test_a_change_is_later_than_all_that_was_logged(text: bytes, uuid: str, present: bool, now: int) -> None:
    before = LocationLog.parse(text)
    changed = before.changed(uuid, present=present, now=now)
    if changed is None:
        assert before.newest[uuid].status == (b"1" if present else b"0")
        return
    after = LocationLog.parse(changed)
    assert (uuid in after.present()) == present
    latest = before.latest()
    assert latest is None or after.newest[uuid].time > latest
    assert after.unknown == before.unknown
    assert {u: line for u, line in after.newest.items() if u != uuid} == {
        u: line for u, line in before.newest.items() if u != uuid
    }
    assert LocationLog.parse(merge_location_logs(changed, text)) == after


@given(logs, st.sampled_from([A, B, "new"]), st.booleans(), st.integers(0, 2**62))
def test_a_line_at_the_end_says_what_the_log_with_it_says(text: bytes, uuid: str, present: bool, now: int) -> None:
    text = text + b"\n" if text and not text.endswith(b"\n") else text
    log = LocationLog.parse(text)
    line = log.news(uuid, present=present, now=now)
    if line is not None:
        assert LocationLog.parse(text + line.line + b"\n") == log.with_line(line)


def test_the_pure_parts_do_not_load_trio() -> None:
    branch = "p2pannex.git_annex.branch"
    program = f"import sys, {branch}.commit, {branch}.cat_file, {branch}.journal; print('trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# In a repository --------------------------------------------------------------------------------------------------


def git(repository: Path, *arguments: str, text: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", "--git-dir", repository, *arguments], input=text, stdout=subprocess.PIPE, check=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "me",
        "GIT_AUTHOR_EMAIL": "me@localhost",
        "GIT_COMMITTER_NAME": "me",
        "GIT_COMMITTER_EMAIL": "me@localhost",
    }.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    (path / "annex").mkdir()
    return path


@pytest.fixture
def blocking(repository: Path) -> Iterator[BlockingBranch]:
    with contextlib.closing(BlockingBranch(repository, lock_timeout=20)) as branch:
        yield branch


def push(repository: Path, path: bytes, text: bytes) -> None:
    """Change the branch as `git push` does: the ref moves, and nobody looks at journal or index."""
    old = git(repository, "rev-parse", "git-annex").decode().strip()
    blob = git(repository, "hash-object", "-w", "--stdin", text=text).strip()
    environment = {**os.environ, "GIT_INDEX_FILE": str(repository / "pushing")}
    for command, stdin in (
        (["read-tree", old], b""),
        (["update-index", "--index-info"], b"100644 %b\t%b\n" % (blob, path)),
    ):
        subprocess.run(["git", "--git-dir", repository, *command], input=stdin, env=environment, check=True)
    written = subprocess.run(
        ["git", "--git-dir", repository, "write-tree"], stdout=subprocess.PIPE, env=environment, check=True
    ).stdout.decode()
    commit = git(repository, "commit-tree", "-p", old, "-m", "pushed", written.strip()).decode().strip()
    git(repository, "update-ref", "refs/heads/git-annex", commit)


async def test_a_change_is_read_back_before_and_after_its_commit(repository: Path) -> None:
    async with Branch(repository) as branch:
        assert await branch.read(b"uuid.log") == b""
        assert await branch.locations(KEY) == set()
        assert await branch.commit() is False
        assert await branch.log_location(KEY, A, True) is True
        assert await branch.log_location(KEY, A, True) is False
        assert await branch.log_location(KEY, B, False) is True, "that it is absent is news, as it is to git-annex"
        assert await branch.locations(KEY) == {A}
        assert git(repository, "for-each-ref") == b""
        assert await branch.commit("a message") is True
        assert await branch.locations(KEY) == {A}
        assert await branch.commit() is False
        assert await branch.log_location(KEY, A, False) is True
        await branch.commit()
        assert await branch.locations(KEY) == set()
    assert os.listdir(repository / "annex/journal") == []
    assert os.listdir(repository / "annex/p2pannex") == []
    assert (repository / "annex/index.lck").read_bytes() == git(repository, "rev-parse", "git-annex")
    assert git(repository, "log", "--format=%s", "git-annex") == b"update\na message\nbranch created\n"
    assert git(repository, "fsck", "--strict") == b""


async def test_logs_of_any_path(repository: Path) -> None:
    async with Branch(repository) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        push(repository, b"uuid.log", b"x\n")
        assert await branch.uuid_log() == b"x\n"
        for path in (
            b"",
            b"none",
            b"aaa/bbb/none",
            location_log_path(KEY)[:3],
            location_log_path(KEY) + b"/x",
            b"a\nb",
        ):
            assert await branch.read(path) == b""
        assert await branch.read(b"x" * 5000) == b""


async def test_the_ref_is_followed_wherever_it_is_kept(repository: Path) -> None:
    async with Branch(repository) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        for number in range(3):
            push(repository, b"uuid.log", b"%d\n" % number)
            assert await branch.uuid_log() == b"%d\n" % number
            git(repository, "pack-refs", "--all")
            assert await branch.uuid_log() == b"%d\n" % number
        git(repository, "gc", "-q", "--prune=now")
        assert await branch.uuid_log() == b"2\n"
        assert await branch.locations(KEY) == {A}


async def test_a_git_that_was_killed_is_replaced(repository: Path) -> None:
    async with Branch(repository) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        assert await branch.locations(KEY) == {A}
        process = branch._cat_file._process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert await branch.locations(KEY) == {A}
        assert branch._cat_file._process is not process


def nothing(repository: Path, path: bytes) -> None:
    pass


def others_commit_to_it(repository: Path, path: bytes) -> None:
    push(repository, path, b"newer\n")


def others_commit_to_another_log(repository: Path, path: bytes) -> None:
    push(repository, b"uuid.log", b"other\n")


def the_refs_are_packed(repository: Path, path: bytes) -> None:
    git(repository, "pack-refs", "--all")


def the_refs_are_packed_and_others_commit(repository: Path, path: bytes) -> None:
    the_refs_are_packed(repository, path)
    others_commit_to_it(repository, path)


@pytest.mark.parametrize(
    "event",
    [
        nothing,
        others_commit_to_it,
        others_commit_to_another_log,
        the_refs_are_packed,
        the_refs_are_packed_and_others_commit,
    ],
)
def test_what_was_expected_is_never_stale(
    repository: Path, blocking: BlockingBranch, event: Callable[[Path, bytes], None]
) -> None:
    """Git is asked for a log before something happens to the branch, or nothing does, and the log is read then."""
    blocking.log_location(KEY, A, True)
    blocking.commit()
    path = location_log_path(KEY)
    before = blocking.read(path)
    assert before
    for expected in ([KEY], [KEY, KEY], [OTHER_KEY], [KEY, OTHER_KEY]):
        for key in expected:
            blocking.prefetch(key)
        event(repository, path)
        assert blocking.read(path) == git(repository, "cat-file", "blob", f"git-annex:{path.decode()}")
        assert blocking.read(location_log_path(OTHER_KEY)) == b""
        push(repository, path, before)


def test_a_log_is_asked_for_early_and_once(blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (KEY, OTHER_KEY):
        blocking.log_location(key, A, True)
    blocking.commit()
    blocking.locations(KEY)  # from now on git runs, and the top directory is known
    questions: list[list[bytes]] = []
    put = CatFile._put

    def counted(self: CatFile, objects: list[bytes]) -> None:
        questions.append(objects)
        put(self, objects)

    monkeypatch.setattr(CatFile, "_put", counted)
    blocking.prefetch(OTHER_KEY)
    assert len(questions) == 1
    assert blocking.locations(OTHER_KEY) == {A}
    assert len(questions) == 1
    blocking.log_location(KEY, B, True)
    questions.clear()
    blocking.prefetch(KEY)
    assert not questions, "the journal has it"


def test_a_git_that_dies_with_a_question_is_asked_again(blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    blocking.commit()
    for before in (True, False):
        blocking.locations(KEY)
        process = blocking._cat_file._process
        assert process is not None
        if not before:
            blocking.prefetch(KEY)
        process.kill()
        process.wait()
        if before:
            blocking.prefetch(KEY)
        assert blocking.locations(KEY) == {A}


async def test_a_cancelled_read_leaves_no_answer_behind(repository: Path) -> None:
    async with Branch(repository) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        await branch.locations(KEY)
        process = branch._cat_file._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        with trio.move_on_after(0.05) as scope:
            await branch.locations(KEY)
        assert scope.cancelled_caught
        assert process.returncode is not None
        assert await branch.read(b"uuid.log") == b""
        assert await branch.locations(KEY) == {A}


async def test_tasks_that_change_one_log_lose_nothing(repository: Path) -> None:
    async with Branch(repository) as one, Branch(repository) as other, trio.open_nursery() as nursery:
        uuids = {f"u{n}" for n in range(40)}

        async def change(uuid: str, branch: Branch) -> None:
            await branch.log_location(KEY, uuid, True)
            await branch.commit()

        for n, uuid in enumerate(sorted(uuids)):
            nursery.start_soon(change, uuid, one if n % 2 else other)
    async with Branch(repository) as branch:
        assert await branch.locations(KEY) == uuids
    assert os.listdir(repository / "annex/journal") == []


@contextlib.contextmanager
def locked_by_another(repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the journal's lock, until it has nothing to read any more."""
    holder = f"""
        import fcntl, sys
        file = open({str(repository / "annex/journal.lck")!r}, "r+")
        fcntl.lockf(file, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", "if 1:" + holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.communicate()


@pytest.mark.parametrize("way", [InThreads, Inline, Batched])
async def test_a_journal_locked_by_others(repository: Path, way: type[DiskWork]) -> None:
    async with Branch(repository, lock_timeout=0.05, disk_work=way()) as branch:
        await branch.log_location(KEY, A, True)
        with locked_by_another(repository):
            with pytest.raises(RemoteError, match="busy"):
                await branch.log_location(KEY, B, True)
            with pytest.raises(RemoteError, match="busy"):
                await branch.commit()
            assert await branch.locations(KEY) == {A}
        assert await branch.log_location(KEY, B, True)


@pytest.mark.parametrize("way", [InThreads, Inline, Batched])
async def test_the_loop_goes_on_while_others_have_the_lock(repository: Path, way: type[DiskWork]) -> None:
    async with Branch(repository, lock_timeout=60, disk_work=way()) as branch, trio.open_nursery() as nursery:
        assert await branch.log_location(KEY, A, True)
        with locked_by_another(repository) as process:
            nursery.start_soon(branch.log_location, KEY, B, True)
            for _ in range(10):
                await trio.sleep(0.01)
            assert await branch.locations(KEY) == {A}
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            with trio.fail_after(30):
                while await branch.locations(KEY) != {A, B}:  # noqa: ASYNC110 - a file has no event
                    await trio.sleep(0.01)


def test_a_log_in_the_journal_is_added_to_while_it_is_small(repository: Path, blocking: BlockingBranch) -> None:
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    blocking.log_location(KEY, B, True)
    blocking.log_location(KEY, A, True)
    before = file.stat().st_ino
    sizes = []
    for number in range(100):
        assert blocking.log_location(KEY, A, bool(number % 2))
        assert blocking.locations(KEY) == ({A, B} if number % 2 else {B})
        sizes.append(file.stat().st_size)
    assert sizes[1] > sizes[0], "the log was not replaced at once"
    assert max(sizes) <= 4096
    assert min(sizes[2:]) < sizes[1], "but in the end, without what is obsolete"
    assert file.stat().st_ino != before
    blocking.commit()
    assert blocking.locations(KEY) == {A, B}


def test_a_line_that_git_annex_has_not_finished_does_not_get_in_the_way(
    repository: Path, blocking: BlockingBranch
) -> None:
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    blocking.log_location(KEY, B, True)
    with file.open("ab") as log:
        log.write(b"1795255250s 1 unfin")
    assert blocking.locations(KEY) == {B}
    assert blocking.log_location(KEY, A, True)
    assert blocking.locations(KEY) == {A, B}
    assert b"unfin" not in file.read_bytes()


def test_what_is_pushed_to_the_branch_meanwhile_is_merged(repository: Path, blocking: BlockingBranch) -> None:
    path = location_log_path(KEY)
    blocking.log_location(KEY, A, True)
    blocking.commit()
    blocking.log_location(KEY, A, False)
    blocking.change(b"uuid.log", lambda text: text + b"ours\n")
    push(repository, path, b"5s 1 pushed\n")
    push(repository, b"uuid.log", b"theirs\n")
    push(repository, b"other.log", b"other\n")
    blocking.commit()
    assert blocking.locations(KEY) == {"pushed"}
    assert set(blocking.read(b"uuid.log").split()) == {b"ours", b"theirs"}
    assert blocking.read(b"other.log") == b"other\n"
    assert git(repository, "rev-list", "--count", "git-annex") == b"6\n"


def test_a_ref_that_moves_during_the_commit(
    repository: Path, blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = location_log_path(KEY)
    blocking.log_location(KEY, A, True)
    blocking.commit()
    run = blocking.git.run
    pushed = 0

    def run_after_a_push(*arguments: bytes | str, **options: object) -> bytes:
        nonlocal pushed
        if arguments[0] == "update-ref" and pushed < 3:
            pushed += 1
            push(repository, path, blocking._cat_file.read(path) + b"5s 1 pushed%d\n" % pushed)
        return run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(blocking.git, "run", run_after_a_push)
    blocking.log_location(KEY, B, True)
    assert commit_journal(blocking.git, blocking.journal, "update")
    assert blocking.locations(KEY) == {A, B, "pushed1", "pushed2", "pushed3"}
    assert git(repository, "rev-list", "--count", "git-annex") == b"6\n", "each push, and one commit of ours"


def test_an_older_journal_does_not_undo_what_was_merged_since(repository: Path, blocking: BlockingBranch) -> None:
    """git-annex may have merged a push into the index, and noted so, while an older version was in the journal."""
    blocking.log_location(KEY, A, True)
    blocking.commit()
    blocking.log_location(KEY, B, True)
    push(repository, location_log_path(KEY), blocking._cat_file.read(location_log_path(KEY)) + b"5s 1 pushed\n")
    (repository / "annex/index.lck").write_bytes(git(repository, "rev-parse", "git-annex"))
    blocking.commit()
    assert blocking.locations(KEY) == {A, B, "pushed"}


@pytest.mark.parametrize("lost", ["index", "index.lck", "both"])
def test_files_of_the_index_that_are_gone(repository: Path, blocking: BlockingBranch, lost: str) -> None:
    blocking.log_location(KEY, A, True)
    blocking.change(b"uuid.log", lambda _: b"x\n")
    blocking.commit()
    for name in ("index", "index.lck"):
        if lost in (name, "both"):
            (repository / "annex" / name).unlink()
    (repository / "annex/index.lock").write_bytes(b"left behind")
    blocking.log_location(KEY, B, True)
    blocking.commit()
    assert blocking.locations(KEY) == {A, B}
    assert blocking.read(b"uuid.log") == b"x\n"


def test_the_branch_is_made_of_origins(repository: Path, blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    blocking.commit()
    git(repository, "update-ref", "refs/remotes/origin/git-annex", "git-annex")
    git(repository, "update-ref", "-d", "refs/heads/git-annex")
    (repository / "annex/index").unlink()
    blocking.log_location(Key("SHA256--other"), B, True)
    assert blocking.locations(KEY) == set()
    blocking.commit()
    assert blocking.locations(KEY) == {A}
    assert git(repository, "rev-list", "--count", "git-annex") == b"3\n"


def test_an_incomplete_last_line_does_not_count(repository: Path, blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    file = repository / "annex/journal" / os.fsdecode(journal_name(location_log_path(KEY)))
    with file.open("ab") as journal:
        journal.write(b"9999999999s 0 " + A.encode()[:-1])
    assert blocking.locations(KEY) == {A}
    blocking.log_location(KEY, B, True)
    assert blocking.locations(KEY) == {A, B}


def test_git_that_takes_too_long_is_given_up(repository: Path) -> None:
    with contextlib.closing(BlockingBranch(repository, git_timeout=0.0)) as branch:
        branch.log_location(KEY, A, True)
        with pytest.raises(RemoteError, match="took longer"):
            branch.commit()
        assert branch.locations(KEY) == {A}


@pytest.mark.parametrize("uuid", ["", "a b", "a\nb"])
def test_what_is_no_uuid(blocking: BlockingBranch, uuid: str) -> None:
    with pytest.raises(ValueError, match="uuid"):
        blocking.log_location(KEY, uuid, True)


def test_keys_too_long_for_the_journal(blocking: BlockingBranch) -> None:
    with pytest.raises(RemoteError, match="too long"):
        blocking.log_location(Key("SHA256--" + "x" * 300), A, True)
    assert os.listdir(blocking.journal.annex + b"/p2pannex") == []


def test_files_of_a_shared_repository(repository: Path) -> None:
    old = os.umask(0o077)
    try:
        with contextlib.closing(BlockingBranch(repository, shared_mode=0o660)) as branch:
            branch.log_location(KEY, A, True)
    finally:
        os.umask(old)
    assert (repository / "annex/journal.lck").stat().st_mode & 0o777 == 0o660
    assert (repository / "annex/journal").stat().st_mode & 0o777 == 0o770
    [file] = (repository / "annex/journal").iterdir()
    assert file.stat().st_mode & 0o777 == 0o660


def test_locks_exclude_within_the_process(repository: Path) -> None:
    """They are of the open file: a second Branch on the same repository waits, and closing files drops nothing."""
    with contextlib.closing(BlockingBranch(repository)) as one, contextlib.closing(BlockingBranch(repository)) as two:
        with one.journal.lock():
            thread = threading.Thread(target=two.log_location, args=(KEY, A, True))
            thread.start()
            with open(repository / "annex/journal.lck"):
                pass
            thread.join(0.1)
            assert thread.is_alive()
            assert two.locations(KEY) == set()
        thread.join()
        assert one.locations(KEY) == {A}
