"""Running git in a repository of a test."""

import subprocess
from pathlib import Path


def git(repository: Path, *arguments: str | Path, stdin: bytes = b"") -> str:
    """What git prints. A git that fails is an error of the test."""
    command = ["git", "-C", repository, *arguments]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout.decode()
