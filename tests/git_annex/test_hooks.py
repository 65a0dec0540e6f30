"""The commands and scripts of a repository's owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.hooks import CommitSettings, Hook
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.system.file_locks import try_lock
from p2pannex.testing.samples import key_of, store
from tests.support.git import git


def hook(path: Path, command: str | None = None) -> Hook:
    values = {} if command is None else {"annex.secure-erase-command": command}
    return Hook(os.fsencode(path), values, "secure-erase", "%file")


def script(path: Path, text: str) -> Path:
    (path / "hooks").mkdir(exist_ok=True)
    file = path / "hooks" / "secure-erase-annex"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("name", ["plain", "with space", "a'b\"c", "$HOME;`id`", "-n", "é\\n"])
def test_the_path_is_one_word_of_the_command(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.touch()
    assert hook(tmp_path, command="rm -- %file").run(os.fsencode(target))
    assert not target.exists()


def test_a_script_comes_before_the_command_if_it_can_be_executed(tmp_path: Path) -> None:
    file = script(tmp_path, 'echo "$#:$1" > "$1.seen"')
    one = hook(tmp_path, command="touch %file.command")
    assert one.run(os.fsencode(tmp_path / "x"))
    assert (tmp_path / "x.seen").read_text() == f"1:{tmp_path}/x\n"
    assert not (tmp_path / "x.command").exists()
    file.chmod(0o644)
    assert hook(tmp_path, command="touch %file.command").run(os.fsencode(tmp_path / "x"))
    assert (tmp_path / "x.command").exists()


def test_none(tmp_path: Path) -> None:
    assert not hook(tmp_path)
    assert not hook(tmp_path, command="")
    assert hook(tmp_path).run(b"x")
    assert hook(tmp_path).output() is None


@pytest.mark.parametrize("command", ["exit 3", "nosuchcommand %file"])
def test_a_failure_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str) -> None:
    assert not hook(tmp_path, command=command).run(b"x")
    assert "annex.secure-erase-command failed with exit status" in caplog.text


def test_a_script_that_cannot_be_run_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script(tmp_path, "").write_text("#!/no/such/interpreter\n")
    assert not hook(tmp_path).run(b"x")
    assert "secure-erase-annex cannot be run: No such file" in caplog.text


def test_output_does_not_reach_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert hook(tmp_path, command="echo said; cat").run(b"x")
    assert capfd.readouterr() == ("", "said\n")


def test_messages_of_commits(tmp_path: Path) -> None:
    values = {"annex.commitmessage-command": "echo ' from the command '"}
    assert CommitSettings(os.fsencode(tmp_path), {}).message() is None
    assert CommitSettings(os.fsencode(tmp_path), values).message() == "from the command"
    assert CommitSettings(os.fsencode(tmp_path), {"annex.commitmessage": "mine"}).message() == "mine"
    assert (
        CommitSettings(os.fsencode(tmp_path), {**values, "annex.commitmessage": "mine"}).message() == "from the command"
    )
    assert CommitSettings(os.fsencode(tmp_path), {"annex.commitmessage-command": "false"}).message() is None
    assert not CommitSettings(os.fsencode(tmp_path), {"annex.alwayscommit": "false"}).always


REMOVE = """
import sys, trio
from p2pannex.keys.key import Key
from p2pannex.stores.annex.store import AnnexStore
async def main():
    async with AnnexStore(sys.argv[1]) as store:
        await store.remove(Key.parse(sys.argv[2].encode()))
trio.run(main)
"""


async def test_a_process_killed_while_it_erases_leaves_no_content_that_is_vouched_for(path: Path) -> None:
    """The command overwrites the content first, so what it leaves has the right size."""
    async with AnnexStore(path) as annex:
        key = await store(annex, b"content to erase")
    marker = path.parent / "overwritten"
    overwrite = f"printf XXXXXXX | dd of=%file conv=notrunc; touch {marker}; kill -9 $PPID"
    git(path, "config", "annex.secure-erase-command", overwrite)
    died = subprocess.run([sys.executable, "-c", REMOVE, path, str(key)], capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert marker.exists()
    left = list((path / "annex/p2pannex/erasing").iterdir())
    assert [file.read_bytes() for file in left] == [b"XXXXXXX to erase"]
    git(path, "config", "annex.secure-erase-command", f"cp %file {path.parent}/erased-later")
    async with AnnexStore(path) as annex:
        assert not await annex.check_present(key)
        other = await store(annex, b"something else")
        assert (await annex.remove(other)).ok
    assert not list((path / "annex/p2pannex/erasing").iterdir()), "the next removal erases what was left"


async def test_content_that_is_erased_at_this_moment_is_not_taken_for_what_a_killed_process_left(path: Path) -> None:
    git(path, "config", "annex.secure-erase-command", f"echo %file >> {path.parent}/erased")
    async with AnnexStore(path) as annex:
        key = await store(annex, b"content")
        erasing = path / "annex/p2pannex/erasing"
        erasing.mkdir(parents=True)
        (erasing / "of-another-process").write_bytes(b"other content")
        with (erasing / "of-another-process").open("r+b") as file:
            assert try_lock(file.fileno())
            assert (await annex.remove(key)).ok
            assert (erasing / "of-another-process").exists()
        assert len((path.parent / "erased").read_text().splitlines()) == 1
        await store(annex, b"content")
        assert (await annex.remove(key)).ok
    assert not list(erasing.iterdir())


async def test_the_deadline_is_checked_after_the_commands(path: Path) -> None:
    key = key_of(b"content")
    git(path, "config", "annex.thawcontent-command", "sleep 1.2")
    git(path, "config", "annex.freezecontent-command", f"echo %path >> {path.parent}/frozen")
    async with AnnexStore(path) as annex:
        await store(annex, b"content")
        name = os.fsdecode(key.file_name)
        frozen = path.parent / "frozen"
        assert any(line.endswith(f"/{name}/{name}") for line in frozen.read_text().splitlines()), "it is protected"
        frozen.unlink()
        now = await annex.timestamp()
        assert not (await annex.remove(key, before=now + 1)).ok
        assert await annex.check_present(key)
    assert any(line.endswith(f"/{name}/{name}") for line in frozen.read_text().splitlines()), "it is protected again"


async def test_a_trash_bin_is_refused_when_content_would_go_there(path: Path) -> None:
    key = key_of(b"content")
    git(path, "config", "annex.trashbin", "bin")
    async with AnnexStore(path) as annex:
        await store(annex, b"content")
        with pytest.raises(RemoteError, match=r"annex\.trashbin"):
            await annex.remove(key)
        assert await annex.check_present(key)


def test_no_hook_is_run_on_a_loop_that_others_need(path: Path) -> None:
    values = {"annex.uuid": "u"}
    assert AnnexLayout(AnnexConfig(os.fsencode(path), values)).removes_quickly
    for name in ("secure-erase", "freezecontent", "thawcontent"):
        with_hook = AnnexConfig(os.fsencode(path), {**values, f"annex.{name}-command": "true"})
        assert not AnnexLayout(with_hook).removes_quickly
