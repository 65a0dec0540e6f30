"""Reading the branch through one running git."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.cat_file import CatFile
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.keys.key import Key
from tests.git_annex.branch.repositories import push
from tests.git_annex.logs.examples import KEY, A, B
from tests.support.git import git

OTHER_KEY = Key("SHA256-s3--2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")


async def test_the_ref_is_followed_wherever_it_is_kept(repository: Path) -> None:
    async with Branch(BlockingBranch(repository)) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        for number in range(3):
            push(repository, b"uuid.log", b"%d\n" % number)
            assert await branch.read(b"uuid.log") == b"%d\n" % number
            git(repository, "pack-refs", "--all")
            assert await branch.read(b"uuid.log") == b"%d\n" % number
        git(repository, "gc", "-q", "--prune=now")
        assert await branch.read(b"uuid.log") == b"2\n"
        assert await branch.locations(KEY) == {A}


async def test_a_git_that_was_killed_is_replaced(repository: Path) -> None:
    async with Branch(BlockingBranch(repository)) as branch:
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
        assert blocking.read(path).decode() == git(repository, "cat-file", "blob", f"git-annex:{path.decode()}")
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


def test_what_was_expected_for_another_log_is_not_used(blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    blocking.log_location(OTHER_KEY, B, True)
    blocking.commit()
    blocking.locations(KEY)  # from now on git runs, and the top directory is known
    blocking.prefetch(OTHER_KEY)
    assert blocking.locations(KEY) == {A}
    assert blocking.locations(OTHER_KEY) == {B}


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
    async with Branch(BlockingBranch(repository)) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        await branch.locations(KEY)
        process = branch._cat_file._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(branch.locations, KEY)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
        assert process.returncode is not None
        assert await branch.read(b"uuid.log") == b""
        assert await branch.locations(KEY) == {A}


def test_git_that_takes_too_long_is_given_up(repository: Path) -> None:
    with contextlib.closing(BlockingBranch(repository, git_timeout=0.0)) as branch:
        branch.log_location(KEY, A, True)
        with pytest.raises(RemoteError, match="took longer"):
            branch.commit()
        assert branch.locations(KEY) == {A}
