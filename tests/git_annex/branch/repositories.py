"""Repositories that git made, and what is logged in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.git import git


def push(repository: Path, path: bytes, text: bytes) -> None:
    """Change the branch as `git push` does: the ref moves, and journal and index are not read."""
    old = git(repository, "rev-parse", "git-annex").strip()
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=text).strip()
    environment = {**os.environ, "GIT_INDEX_FILE": str(repository / "pushing")}
    for command, stdin in (
        (["read-tree", old], b""),
        (["update-index", "--index-info"], b"100644 %b\t%b\n" % (blob.encode(), path)),
    ):
        subprocess.run(["git", "--git-dir", repository, *command], input=stdin, env=environment, check=True)
    written = subprocess.run(
        ["git", "--git-dir", repository, "write-tree"], stdout=subprocess.PIPE, env=environment, check=True
    ).stdout.decode()
    commit = git(repository, "commit-tree", "-p", old, "-m", "pushed", written.strip()).strip()
    git(repository, "update-ref", "refs/heads/git-annex", commit)
