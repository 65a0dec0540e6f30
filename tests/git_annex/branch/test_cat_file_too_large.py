"""Logs that are too large: they were pushed in a pack of kilobytes."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest

from p2pannex.git_annex.branch.blobs import read_blobs
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.branch.cat_file import LogTooLarge
from p2pannex.git_annex.branch.sizes import repository_sizes
from p2pannex.git_annex.git import Git
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.testing.samples import key_of
from tests.git_annex.branch.repositories import push
from tests.git_annex.logs.examples import KEY, A, B
from tests.support.git import git

LARGE = b"\n" * (1 << 20) + b"\n"


async def test_a_log_that_is_too_large_is_not_read_and_others_are(repository: Path) -> None:
    async with Branch(BlockingBranch(repository)) as branch:
        await branch.log_location(KEY, A, True)
        await branch.commit()
        push(repository, b"uuid.log", LARGE)
        for _ in range(2):
            with pytest.raises(LogTooLarge, match=r"uuid\.log .* has 1048577 bytes, more than 1048576; .*maxLogSize"):
                await branch.read(b"uuid.log")
            assert await branch.locations(KEY) == {A}
        push(repository, b"uuid.log", b"small\n")
        assert await branch.read(b"uuid.log") == b"small\n"
        push(repository, b"uuid.log", LARGE[1:])
        assert await branch.read(b"uuid.log") == LARGE[1:]
    async with Branch(BlockingBranch(repository, log_max=1 << 21)) as branch:
        push(repository, b"uuid.log", LARGE)
        assert await branch.read(b"uuid.log") == LARGE


@pytest.mark.parametrize("packed", [False, True])
def test_a_prefetched_log_that_is_too_large_does_not_harm_another_read(repository: Path, packed: bool) -> None:
    with contextlib.closing(BlockingBranch(repository, log_max=1000)) as branch:
        branch.log_location(KEY, A, True)
        branch.commit()
        push(repository, location_log_path(KEY), b"1s 1 x\n" * 1000)
        push(repository, b"uuid.log", b"fine\n")
        if packed:
            git(repository, "pack-refs", "--all")
        assert branch.read(b"uuid.log") == b"fine\n"
        branch.prefetch(KEY)
        assert branch.read(b"uuid.log") == b"fine\n"
        with pytest.raises(LogTooLarge, match="7000 bytes"):
            branch.locations(KEY)
        push(repository, location_log_path(KEY), b"1s 1 x\n")
        assert branch.locations(KEY) == {"x"}


def test_a_commit_keeps_what_it_cannot_merge_in_the_journal(
    repository: Path, blocking: BlockingBranch, caplog: pytest.LogCaptureFixture
) -> None:
    other = key_of(b"other")
    blocking.log_location(KEY, A, True)
    blocking.commit()
    blocking.log_location(KEY, B, True)
    blocking.log_location(other, A, True)
    push(repository, location_log_path(KEY), LARGE)
    push(repository, b"preferred-content.log", LARGE)
    with caplog.at_level(logging.WARNING):
        assert blocking.commit()
    assert "is too large to be merged" in caplog.text
    path = location_log_path(KEY).decode()
    assert git(repository, "cat-file", "-s", f"git-annex:{path}") == f"{len(LARGE)}\n"
    assert blocking.locations(KEY) == {A, B}, "from the journal"
    assert [path.encode().rpartition(b"/")[2]] == [name[-len(str(KEY)) - 4 :] for name in blocking.journal.names()]
    assert git(repository, "show", f"git-annex:{location_log_path(other).decode()}").endswith(f"s 1 {A}\n")
    push(repository, location_log_path(KEY), b"5s 1 pushed\n")
    blocking.commit()
    assert blocking.locations(KEY) == {A, B, "pushed"}
    assert blocking.journal.names() == []


def test_sizes_leave_out_a_log_that_is_too_large(repository: Path, blocking: BlockingBranch) -> None:
    blocking.log_location(KEY, A, True)
    blocking.log_location(key_of(b"other"), A, True)
    blocking.commit()
    push(repository, location_log_path(KEY), LARGE)
    assert repository_sizes(blocking.git, blocking.journal) == {A: 5}


def test_blobs_are_read_in_batches(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.git_annex.branch.blobs.BATCH_BYTES", 10)
    monkeypatch.setattr("p2pannex.git_annex.branch.blobs.BATCH_BLOBS", 4)
    texts = [b"", b"x" * 20, b"yy\n", b"0123456789", b"z" * 21, b"", b"abc", b"zzzzzzz", b"q", b"r", b"s" * 30]
    names = [git(repository, "hash-object", "-w", "--stdin", stdin=text).strip().encode() for text in texts]
    expected = [text if len(text) <= 20 else None for text in texts]
    assert list(read_blobs(Git(bytes(repository)).run, names, 20)) == expected
