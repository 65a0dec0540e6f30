"""Running git's plumbing on a repository, from a thread: with a deadline, always reaped, errors in words for people."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from p2pannex.errors import RemoteError

GIT_TIMEOUT = 120.0
"""Seconds that one git command may take. They take milliseconds, or a second on a branch of a million logs."""

_NOT_INHERITED = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE", "GIT_QUARANTINE_PATH"}
"""Variables that say which repository the caller is in, if it is a hook. They are not about ours."""


def inherited() -> dict[str, str]:
    """Our environment, for a git that works on another repository than the caller's."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}


class GitFailed(RemoteError):
    """A git command ended with an error. `status` is its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Git:
    """git, with `git_dir` for its repository. Every call blocks: make it in a worker thread."""

    def __init__(self, git_dir: bytes, *, timeout: float = GIT_TIMEOUT) -> None:
        self.git_dir = git_dir
        self.timeout = timeout

    def argv(self, *arguments: bytes | str) -> list[bytes]:
        return [b"git", b"--git-dir=" + self.git_dir, *map(os.fsencode, arguments)]

    def environment(self, variables: Mapping[str, bytes | str] | None = None) -> dict[str, bytes | str]:
        return {**inherited(), "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **(variables or {})}

    def run(
        self,
        *arguments: bytes | str,
        input: bytes = b"",  # noqa: A002 - subprocess's word for it
        variables: Mapping[str, bytes | str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> bytes:
        """What the command prints. GitFailed when it fails, with its last words; RemoteError when it cannot be run
        or takes too long: then it is killed."""
        try:
            done = subprocess.run(
                self.argv(*arguments),
                input=input,
                capture_output=True,
                cwd=self.git_dir,
                env=self.environment(variables),
                pass_fds=pass_fds,
                timeout=self.timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise RemoteError(f"{_name(arguments)} takes longer than {self.timeout:g} seconds; gave up") from error
        except OSError as error:
            raise RemoteError(f"cannot run git: {error.strerror}") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise GitFailed(f"{_name(arguments)}: {said[0] if said else done.returncode}", done.returncode)
        return done.stdout


def _name(arguments: Sequence[bytes | str]) -> str:
    words = [os.fsdecode(word) for word in arguments]
    return f"git {words[0]}" if words else "git"
