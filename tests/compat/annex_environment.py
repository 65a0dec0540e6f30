"""A home directory for the real git-annex, and programs to put into it. Nothing of the user's configuration is read."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import p2pannex

CHECKOUT = os.path.dirname(os.path.dirname(p2pannex.__file__))

SHELL = f"#!{sys.executable}\nimport sys\nfrom p2pannex.cli.shell.main import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class AnnexEnvironment:
    """A home directory, and the environment variables with which programs find it and nothing of the user's."""

    home: Path
    variables: dict[str, str]

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        check: bool = True,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; where it fails, the test does, with what it said."""
        done = subprocess.run(
            command,
            cwd=cwd or self.home,
            env={**self.variables, **(variables or {})},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            shown = " ".join(str(word) for word in command)
            pytest.fail(f"{shown}: exit status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def repository(self, name: str, *options: str) -> Path:
        """A new git-annex repository below the home directory. `options` are git init's."""
        path = self.home / name
        self.run("git", "init", "-q", *options, path)
        self.run("git", "annex", "init", "-q", name, cwd=path)
        return path

    def uuid(self, repository: Path) -> str:
        return self.run("git", "config", "annex.uuid", cwd=repository).stdout.strip()


def program(path: Path, text: str) -> Path:
    """An executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def environment(home: Path, programs: Path) -> dict[str, str]:
    path = [str(programs), sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    if shutil.which("git-annex-shell", path=os.pathsep.join(path)) is None:
        pytest.fail("git-annex is missing: pip install git-annex", pytrace=False)
    return {
        "GIT_AUTHOR_EMAIL": "me@localhost",
        "GIT_AUTHOR_NAME": "me",
        "GIT_COMMITTER_EMAIL": "me@localhost",
        "GIT_COMMITTER_NAME": "me",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": CHECKOUT,
        "XDG_CONFIG_HOME": str(programs / "configuration"),
    }


@dataclass(frozen=True)
class SshServer:
    """A running sshd. ``ssh -F config localhost`` logs in to it, as who we are; with `login` for a config, as
    an account whose login shell is p2pannex-shell; with `theirs`, as one whose login shell is git-annex-shell; with
    `restricted`, git commands are refused."""

    port: int
    config: Path
    restricted: Path
    login: Path
    theirs: Path

    def url(self, directory: Path) -> str:
        return f"ssh://localhost:{self.port}{directory}"
