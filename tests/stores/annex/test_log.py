"""The location log of an annex store: what is written when, and committed when."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Stored, Upload
from p2pannex.stores.annex.log import AnnexLog
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.disk_work import DiskWork, Inline, InThreads
from p2pannex.system.fsync_batch import Fsyncs
from p2pannex.testing.samples import key_of, store
from tests.stores.annex.repository import CONTENT, KEY, UUID, annex
from tests.support.git import git

MORE_CONTENT = b"more"
MORE = key_of(MORE_CONTENT)


async def test_changes_are_logged_before_they_are_reported_and_committed_at_the_end(repository: Path) -> None:
    log = f"{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log"
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        (journal,) = (annex(repository) / "journal").iterdir()
        assert journal.read_text().endswith(f"s 1 {UUID}\n")
    assert [*(annex(repository) / "journal").iterdir()] == []
    assert git(repository, "show", f"git-annex:{log}").endswith(f"s 1 {UUID}\n")
    async with AnnexStore(repository, disk_work=Inline()) as one:
        assert (await one.remove(KEY)).ok
        (journal,) = (annex(repository) / "journal").iterdir()
        assert f"s 0 {UUID}\n" in journal.read_text()
    assert f"s 0 {UUID}\n" in git(repository, "show", f"git-annex:{log}")


async def test_the_log_is_committed_when_nothing_happens_any_more(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        with trio.fail_after(50):
            while [*(annex(repository) / "journal").iterdir()]:  # noqa: ASYNC110 - git works in a process of its own
                await trio.sleep(0.1)
        assert UUID in git(repository, "show", f"git-annex:{os.fsdecode(KEY.hashdir_lower)}/{KEY}.log")


async def test_committed_without_a_block(repository: Path) -> None:
    one = AnnexStore(repository)
    await store(one, CONTENT, KEY)
    assert list((annex(repository) / "journal").iterdir())
    await one.aclose()
    assert not list((annex(repository) / "journal").iterdir())


@pytest.mark.parametrize("way", [InThreads, Inline])
async def test_a_line_of_others_that_came_late_is_corrected(repository: Path, way: type[DiskWork]) -> None:
    """git-annex logs after having stored or removed the content, and then both may not be true any more."""
    async with AnnexStore(repository, disk_work=way()) as one, Branch(BlockingBranch(one.config.git_dir)) as late:
        await store(one, CONTENT, KEY)
        await late.log_location(KEY, UUID, False)
        await store(one, b"more", MORE)
        assert (await one.remove(MORE)).ok
        await late.log_location(MORE, UUID, True)
        await late.commit()
    async with Branch(BlockingBranch(one.config.git_dir)) as branch:
        assert await branch.locations(KEY) == {UUID}
        assert await branch.locations(MORE) == set()


async def test_what_changed_again_before_it_was_logged_is_logged_as_the_disk_has_it(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        log = AnnexLog(one._branch, UUID, lambda key: False)
        await log.changed(KEY, True)
        assert await one._branch.locations(KEY) == set()


async def test_what_could_not_be_committed_is_committed_later(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RemoteError("the branch is locked")

    async with AnnexStore(repository) as one:
        log = AnnexLog(one._branch, UUID, lambda key: True)
        await log.changed(KEY, True)
        with monkeypatch.context() as patch:
            patch.setattr(one._branch, "commit", fail)
            with pytest.raises(RemoteError, match="locked"):
                await log.commit()
        await log.commit()
        assert not list((annex(repository) / "journal").iterdir())


async def locations(repository: Path) -> set[str]:
    async with AnnexStore(repository) as one:
        return await one._branch.locations(KEY)


@contextlib.contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """A file in the way, which keeps root out as well."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.touch(0o444)
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


@pytest.mark.parametrize("name", ["journal", "p2pannex"])
async def test_content_is_not_touched_if_the_log_cannot_be_written(repository: Path, name: str) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        with unwritable(annex(repository) / name):
            with pytest.raises(RemoteError, match="journal"):
                await one.remove(KEY)
            assert await one.check_present(KEY)
            with pytest.raises(RemoteError, match="journal"):
                await one.put(MORE)
        assert (await one.remove(KEY)).ok
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            await upload.begin(len(CONTENT))
            await upload.send_all(memoryview(CONTENT))
            with unwritable(annex(repository) / "journal"), pytest.raises(RemoteError, match="journal"):
                await upload.finish(True)
        assert not await one.check_present(KEY)
        await store(one, CONTENT, KEY)
    assert await locations(repository) == {UUID}


async def test_content_is_stored_only_where_the_log_has_room_and_removed_without(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        full = os.statvfs_result([4096, 4096, 1000, 0, 0, 1000, 500, 500, 0, 255])
        monkeypatch.setattr(os, "statvfs", lambda path: full)
        with pytest.raises(RemoteError, match="disk is full"):
            await one.put(MORE)
        assert (await one.remove(KEY)).ok


async def test_what_could_not_be_logged_is_not_forgotten_for_more(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pannex.stores.annex.log.OWED_MAX", 1)
    async with AnnexStore(repository) as one:
        await store(one, MORE_CONTENT, MORE)
        await store(one, CONTENT, KEY)
        async with Branch(BlockingBranch(one.config.git_dir)) as branch:
            with pytest.MonkeyPatch.context() as patch, branch.blocking.journal.lock():
                patch.setattr(one._branch.blocking.journal, "timeout", 0.01)
                with pytest.raises(RemoteError, match="busy"):
                    await one.remove(KEY)
        with pytest.raises(RemoteError, match="1 changes could not be written to the location log yet"):
            await one.remove(MORE)
        assert await one.check_present(MORE)
        await one._log.commit()
        assert (await one.remove(MORE)).ok


async def test_a_change_that_fails_during_a_commit_is_not_forgotten(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit read the disk before the change, and compares that with the log after it."""
    monkeypatch.setattr("p2pannex.stores.annex.log.REMEMBERED", 1)
    async with AnnexStore(repository) as one:
        await store(one, CONTENT, KEY)
        locations_of = one._branch.locations

        async def locations_and_a_removal(key: Key) -> set[str]:
            """The removal comes while the commit waits for the log."""
            monkeypatch.setattr(one._branch, "locations", locations_of)
            lock = Branch(BlockingBranch(one.config.git_dir))
            async with lock:
                with pytest.MonkeyPatch.context() as patch, lock.blocking.journal.lock():
                    patch.setattr(one._branch.blocking.journal, "timeout", 0.01)
                    with pytest.raises(RemoteError, match="busy"):
                        await one.remove(KEY)
            await store(one, MORE_CONTENT, MORE)  # so many other changes that this one is only remembered as owed
            return await locations_of(key)

        monkeypatch.setattr(one._branch, "locations", locations_and_a_removal)
        await one._log.commit()
        await one._log.commit()
        assert await locations_of(KEY) == set()


async def test_a_key_whose_log_cannot_have_a_name_is_refused(repository: Path) -> None:
    """The journal writes two underscores for each."""
    async with AnnexStore(repository) as one:
        with pytest.raises(RemoteError, match="too long"):
            await one.put(Key(b"WORM-s7-m1--" + b"_" * 130))


@pytest.mark.parametrize("again", ["later", "the same request", "the same request of another process"])
@pytest.mark.parametrize("removal", [False, True])
async def test_what_could_not_be_logged_is_logged_later(repository: Path, removal: bool, again: str) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(AnnexStore(repository))
        if removal:
            await store(one, CONTENT, KEY)

        async def change(one: AnnexStore) -> None:
            if removal:
                assert (await one.remove(KEY)).ok
            else:
                upload = await one.put(KEY)
                if not isinstance(upload, AlreadyHave):
                    async with upload:
                        await upload.begin(len(CONTENT))
                        await upload.send_all(memoryview(CONTENT))
                        assert isinstance(await upload.finish(True), Stored)

        async with Branch(BlockingBranch(one.config.git_dir)) as branch:
            lock = branch.blocking.journal.lock()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(one._branch.blocking.journal, "timeout", 0.01)
                lock.__enter__()
                with pytest.raises(RemoteError, match="busy"):
                    await change(one)
                lock.__exit__(None, None, None)
        assert await one.check_present(KEY) != removal
        if again == "the same request":
            await change(one)
            assert (await one._branch.locations(KEY) == {UUID}) != removal
        elif again == "the same request of another process":
            async with AnnexStore(repository) as other:
                await change(other)
                assert (await other._branch.locations(KEY) == {UUID}) != removal
    assert (await locations(repository) == {UUID}) != removal


async def begun(one: AnnexStore) -> Upload:
    upload = await one.put(KEY)
    assert isinstance(upload, Upload)
    await upload.begin(len(CONTENT))
    await upload.send_all(memoryview(CONTENT))
    return upload


async def test_data_present_settles_the_log(repository: Path) -> None:
    async with AnnexStore(repository) as one:
        upload = await one.put(KEY)
        assert isinstance(upload, Upload)
        async with upload:
            place = Path(os.fsdecode(one.layout.find(KEY)))
            place.parent.mkdir(parents=True)
            place.write_bytes(CONTENT)  # as another program does, which has not logged it yet
            place.chmod(0o444)
            assert await upload.data_present() == Stored()
        assert await one._branch.locations(KEY) == {UUID}


async def test_content_that_was_stored_is_logged_though_the_client_has_left(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AnnexStore(repository) as one:
        upload = await begun(one)
        commit = one.commit
        with trio.CancelScope() as scope:

            def left(key: Key, partial: bytes, fd: int) -> Fsyncs[None]:
                trio.from_thread.run_sync(scope.cancel)
                yield from commit(key, partial, fd)

            monkeypatch.setattr(one, "commit", left)
            await upload.finish(True)
        assert one.present(KEY)
        assert await one._branch.locations(KEY) == {UUID}
        await upload.aclose()


async def test_the_log_is_told_nothing_of_what_was_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AnnexStore(repository) as one:
        changes: list[bool] = []
        real_changed = one.changed

        async def changed(key: Key, present: bool) -> None:
            changes.append(present)
            await real_changed(key, present)

        monkeypatch.setattr(one, "changed", changed)
        async with await begun(one):
            pass
        again = await one.put(KEY)
        assert isinstance(again, Upload)
        async with again:
            await again.begin(len(CONTENT) - again.offset)
            assert await again.finish(False) == Stored(), "the digest tells"
        assert changes == [True]
        wrong = await one.put(MORE)
        assert isinstance(wrong, Upload)
        async with wrong:
            await wrong.begin(4)
            await wrong.send_all(memoryview(b"less"))
            assert await wrong.finish(True) == NotStored()
        async with await one.lock(KEY):
            assert not (await one.remove(KEY)).ok
        assert not (await one.remove(KEY, before=0)).ok
        assert changes == [True]
        assert (await one.remove(KEY)).ok
        assert changes == [True, False]
