"""Git is run on the repository that was named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.child_environment import GIT_VARIABLES, git_environment
from p2pannex.stores.annex.store import AnnexStore
from tests.stores.annex.repository import UUID, make


async def test_git_variables_of_others_do_not_lead_astray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make(tmp_path / "other", annex_uuid="other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.delenv("GIT_DIR")
    repository = make(tmp_path / "r")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    async with AnnexStore(repository) as one:
        assert one.uuid == UUID


def test_all_variables_that_direct_git_elsewhere_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, check=True, text=True)
    assert {*done.stdout.split()} - GIT_VARIABLES == {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}
    for name in GIT_VARIABLES:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    assert {name for name in git_environment() if name.startswith("GIT_")} >= {"GIT_CONFIG_COUNT"}
    assert not GIT_VARIABLES.intersection(git_environment())


HOOK = """
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.keys.key import Key
from tests.stores.annex.repository import KEY, UUID
for directory in {directories}:
    branch = BlockingBranch(directory)
    assert branch.log_location(KEY, UUID, True)
    assert branch.commit()
    branch.close()
raise SystemExit(1)
"""


def test_a_commit_in_a_pre_receive_hook_is_whole(tmp_path: Path) -> None:
    """Also in another repository, and if the hook refuses the push."""
    pushed, other, source = (make(tmp_path / name) for name in ("pushed", "other", "source"))
    hook = pushed / ".git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    directories = [str(each / ".git") for each in (pushed, other)]
    hook.write_text(f"#!{sys.executable}\n{HOOK.format(directories=directories)}")
    hook.chmod(0o755)
    git = ["git", "-C", str(source), "-c", "user.name=u", "-c", "user.email=e"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*git, "push", pushed, "HEAD:refs/heads/new"], capture_output=True, text=True, check=False, env=environment
    )
    assert "pre-receive hook declined" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    for each in (pushed, other):
        subprocess.run(["git", "-C", each, "fsck", "--strict"], check=True)
        shown = subprocess.run(
            ["git", "-C", each, "log", "-p", "git-annex"], capture_output=True, check=True, text=True
        )
        assert UUID in shown.stdout
