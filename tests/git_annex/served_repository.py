"""A repository that git made, and commits in it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(*words: str | Path) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True, input="").stdout.strip()


def commit(path: Path, message: str, *refs: str) -> str:
    """A new commit, at these refs; its name."""
    made = git("-C", path, "commit-tree", "-m", message, git("-C", path, "hash-object", "-t", "tree", "-w", "--stdin"))
    for ref in refs:
        git("-C", path, "update-ref", ref, made)
    return made
