"""A repository that git made, and commits in it."""

from __future__ import annotations

from pathlib import Path

from tests.support.git import git


def commit(path: Path, message: str, *refs: str) -> str:
    """A new commit, at these refs; its name."""
    tree = git(path, "hash-object", "-t", "tree", "-w", "--stdin").strip()
    made = git(path, "commit-tree", "-m", message, tree).strip()
    for ref in refs:
        git(path, "update-ref", ref, made)
    return made
