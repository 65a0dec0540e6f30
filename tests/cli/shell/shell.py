"""Running p2pannex-shell for an account."""

import os
import subprocess
import sys
from pathlib import Path

import p2pannex
from tests.support.keys import HELLO_KEY

CLIENT = "11111111-2222-3333-4444-555555555555"
PROGRAM = "import sys; from p2pannex.cli.shell.main import main; sys.exit(main())"
KEY = str(HELLO_KEY)


class Shell:
    """Runs the program for the account whose home is `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.path.dirname(os.path.dirname(p2pannex.__file__)),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *(word.replace("@", str(self.home)) for word in words)]

    def run(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {name: value.replace("@", str(self.home)) for name, value in environment.items()}
        return subprocess.run(
            self.command(*words),
            env=self.environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.home / "elsewhere",
            timeout=60,
        )

    def refuses(self, *words: str, **environment: str) -> str:
        """The one line that it says when it does nothing, without the home directory's name in it."""
        done = self.run(*words, **environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("p2pannex-shell: ")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("p2pannex-shell: ").strip().replace(str(self.home), "@")


def commit(repository: Path, ref: str, message: str) -> str:
    """A new commit at the ref; its name."""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
        command = ["git", "-C", str(repository), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, input="").stdout.strip()

    made = git("commit-tree", "-m", message, git("hash-object", "-t", "tree", "-w", "--stdin"))
    git("update-ref", ref, made)
    return made
