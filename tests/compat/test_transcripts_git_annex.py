"""The transcripts of protocol-spec, played with the real git-annex-shell and with p2pannex-shell.

This is what `p2pannex conformance` runs. Where git-annex differs, it must differ as the transcripts say: a difference
that goes away, or a new one, fails here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.conformance import MODES, Result, run_conformance
from p2pannex.testing.player import cases
from p2pannex.testing.transcripts import load_transcripts

pytestmark = pytest.mark.compat

CLIENT = "11111111-2222-3333-4444-555555555555"
OFFERS = ("files", "waiting")
CASES = [
    (transcript.name, version)
    for transcript, version in cases(load_transcripts(), frozenset(range(5)))
    if transcript.needs <= set(OFFERS)
]
"""What a server without a git connection, a gateway or a socket can be asked."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, in which git-annex is the one of this Python's environment."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = User\nemail = user@example.com\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(home), "PATH": path, "GIT_CONFIG_NOSYSTEM": "1"}


def failures(results: list[Result]) -> str:
    return "\n".join(f"{result}" for result in results if result.status == "failed")


async def test_git_annex_shell(tmp_path: Path, environment: dict[str, str]) -> None:
    if shutil.which("git-annex-shell", path=environment["PATH"]) is None:
        pytest.fail("git-annex-shell is missing: install the test extra, which brings git-annex")
    repository = tmp_path / "bare.git"
    for command in (["init", "-q", "--bare", str(repository)], ["-C", str(repository), "annex", "init", "-q"]):
        subprocess.run(["git", *command], env=environment, check=True, capture_output=True)
    argv = ["git-annex-shell", "p2pstdio", str(repository), CLIENT]
    results = await run_conformance(argv, variant="git-annex", modes=MODES, offers=OFFERS, environment=environment)
    assert failures(results) == ""
    assert [(result.transcript, result.version) for result in results if result.status == "passed"] == CASES


async def test_p2pannex_shell(tmp_path: Path, environment: dict[str, str]) -> None:
    store = tmp_path / "store"
    await DirectoryStore.create(store).aclose()
    argv = [sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", str(store), CLIENT]
    results = await run_conformance(argv, modes=MODES, offers=OFFERS, environment=environment)
    assert failures(results) == ""
    assert [(result.transcript, result.version) for result in results if result.status == "passed"] == CASES


async def test_a_program_that_is_no_server(environment: dict[str, str]) -> None:
    argv = [sys.executable, "-c", "print('hello')"]
    seen: list[Result] = []
    results = await run_conformance(argv, names=["put"], versions=[4], environment=environment, report=seen.append)
    assert seen == results
    assert [result.status for result in results] == ["failed"]
    assert "it was hello" in results[0].problem
    assert results[0].as_json()["transcript"] == "put"


async def test_modes_that_the_server_does_not_take_are_skipped(tmp_path: Path, environment: dict[str, str]) -> None:
    await DirectoryStore.create(tmp_path / "store").aclose()
    argv = [sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", str(tmp_path / "store"), CLIENT]
    results = await run_conformance(argv, names=["read-only", "notifychange"], versions=[4], environment=environment)
    assert [(result.transcript, result.status, result.problem) for result in results] == [
        ("notifychange", "skipped", "it needs: git"),
        ("read-only", "skipped", "it needs a server in read-only mode"),
    ]
