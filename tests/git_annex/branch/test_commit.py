"""Committing the journal while others push to the branch."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.commit import commit_journal
from p2pannex.git_annex.git import Git, GitFailed
from p2pannex.git_annex.logs.names import is_left_out, location_log_path
from p2pannex.keys.key import Key
from p2pannex.system.file_locks import try_range
from tests.git_annex.branch.repositories import push
from tests.git_annex.logs.examples import KEY, A, B
from tests.support.git import git


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
    assert git(repository, "rev-list", "--count", "git-annex") == "6\n"


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
    assert git(repository, "rev-list", "--count", "git-annex") == "6\n", "each push, and one commit of ours"


def test_an_older_journal_does_not_undo_what_was_merged_since(repository: Path, blocking: BlockingBranch) -> None:
    """git-annex may have merged a push into the index, and noted so, while an older version was in the journal."""
    blocking.log_location(KEY, A, True)
    blocking.commit()
    blocking.log_location(KEY, B, True)
    push(repository, location_log_path(KEY), blocking._cat_file.read(location_log_path(KEY)) + b"5s 1 pushed\n")
    (repository / "annex/index.lck").write_text(git(repository, "rev-parse", "git-annex"))
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
    assert git(repository, "rev-list", "--count", "git-annex") == "3\n"


@pytest.mark.parametrize("name", [".git\\", "GIT~1 .\\x", ".GIT \\"])
def test_what_the_index_leaves_out_stays_in_the_journal(
    repository: Path, blocking: BlockingBranch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """git takes such a path for ``.git`` on Windows. It ignores the entry, prints that, and reports success."""
    key = Key(f"{name}--x")
    blocking.log_location(key, A, True)
    blocking.log_location(KEY, A, True)
    with caplog.at_level(logging.WARNING):
        assert blocking.commit()
    assert "stays in the journal" in caplog.text
    assert blocking.locations(key) == {A}
    assert len(blocking.journal.names()) == 1
    assert git(repository, "show", f"git-annex:{location_log_path(KEY).decode()}").endswith(f"s 1 {A}\n")
    blocking.log_location(key, B, True)
    blocking.commit()
    assert blocking.locations(key) == {A, B}
    with pytest.raises(RemoteError, match="cannot commit the location log"):
        blocking.require_writable(key, room=1)
    blocking.require_writable(key)


@given(st.text(" .:\\gGiIt~1-ab", min_size=1, max_size=9))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_known_what_the_index_leaves_out(repository: Path, name: str) -> None:
    path = b"aaa/bbb/" + name.encode() + b".log"
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=b"").strip().encode()
    added = Git(bytes(repository)).run(
        "update-index", "--verbose", "-z", "--index-info", input=b"100644 %b\t%b\0" % (blob, path)
    )
    assert is_left_out(path) is not bool(added)


# What a failure or a kill in the middle leaves --------------------------------------------------------------------


GIT_STEPS = ["hash-object", "update-index", "diff-index", "write-tree", "commit-tree", "update-ref"]


@pytest.mark.parametrize("step", GIT_STEPS)
def test_a_commit_that_fails_leaves_everything_in_the_journal(
    blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    blocking.log_location(KEY, A, True)
    blocking.commit()
    blocking.log_location(KEY, B, True)
    before = blocking.journal.names()
    run = blocking.git.run

    def failing(*arguments: bytes | str, **options: object) -> bytes:
        assert blocking.journal.names() == before, "it is emptied after the commit"
        if step in arguments:
            raise GitFailed(f"git {step}: killed", 1)
        return run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("time.sleep", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(blocking.git, "run", failing)
        with pytest.raises(RemoteError):
            blocking.commit()
    assert blocking.journal.names() == before
    assert blocking.locations(KEY) == {A, B}
    blocking.commit()
    assert blocking.journal.names() == []
    assert blocking.locations(KEY) == {A, B}


def test_a_commit_holds_the_lock_and_so_does_each_git(
    blocking: BlockingBranch, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that outlives us keeps the lock, until it has ended."""
    blocking.log_location(KEY, A, True)
    run = blocking.git.run
    commands: list[object] = []

    def observed(*arguments: bytes | str, **options: object) -> bytes:
        with (repository / "annex/journal.lck").open("r+b") as other:
            assert not try_range(other.fileno(), fcntl.F_RDLCK)
        fds = options["pass_fds"]
        assert isinstance(fds, list)
        inherited: int = fds[0]
        assert os.path.samestat(os.fstat(inherited), os.stat(repository / "annex/journal.lck"))
        commands.append(arguments[0])
        return run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(blocking.git, "run", observed)
    assert blocking.commit()
    assert commands


def test_blobs_that_git_did_not_store_are_an_error(blocking: BlockingBranch, monkeypatch: pytest.MonkeyPatch) -> None:
    blocking.log_location(KEY, A, True)
    blocking.change(b"uuid.log", lambda _: b"x\n")
    run = blocking.git.run

    def short(*arguments: bytes | str, **options: object) -> bytes:
        output = run(*arguments, **options)  # type: ignore[arg-type]
        return output.splitlines(keepends=True)[0] if arguments[0] == "hash-object" else output

    monkeypatch.setattr(blocking.git, "run", short)
    with pytest.raises(RemoteError, match="did not store all files"):
        blocking.commit()
    assert len(blocking.journal.names()) == 2


def test_after_a_commit_it_is_noted_what_the_index_has(repository: Path, blocking: BlockingBranch) -> None:
    """git-annex merges the branch into the index if the note names another commit."""
    for present in (True, False):
        blocking.log_location(KEY, A, present)
        blocking.commit()
        assert (repository / "annex/index.lck").read_text() == git(repository, "rev-parse", "git-annex")


def test_a_line_that_others_removed_is_not_added_again(repository: Path, blocking: BlockingBranch) -> None:
    """If the index is known to have what the branch has, a missing line was removed on purpose."""
    blocking.change(b"uuid.log", lambda _: b"one\ntwo\n")
    blocking.commit()
    blocking.change(b"uuid.log", lambda _: b"two\n")
    blocking.commit()
    assert blocking.read(b"uuid.log") == b"two\n"
