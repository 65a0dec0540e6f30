"""Run git commands on a repository, in a worker thread: each has a timeout, and a failure raises a `RemoteError`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from p2pannex.child_environment import git_environment
from p2pannex.errors import RemoteError

GIT_TIMEOUT = 120.0
"""Seconds that one git command may take. Most take milliseconds, or a second on a branch of a million logs."""


class GitFailed(RemoteError):
    """A git command ended with an error. `status` is its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Git:
    """git on the repository `git_dir`. `timeout` is in seconds. `run` blocks: call it in a worker thread."""

    def __init__(self, git_dir: bytes, *, timeout: float = GIT_TIMEOUT) -> None:
        self.git_dir = git_dir
        self.timeout = timeout

    def argv(self, *arguments: bytes | str) -> list[bytes]:
        return [b"git", b"--git-dir=" + self.git_dir, *map(os.fsencode, arguments)]

    def environment(self, variables: Mapping[str, bytes | str] | None = None) -> dict[str, bytes | str]:
        return {**git_environment(), "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **(variables or {})}

    def run(
        self,
        *arguments: bytes | str,
        input: bytes = b"",  # noqa: A002 - subprocess's word for it
        variables: Mapping[str, bytes | str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> bytes:
        """Run a command and return what it printed to standard output.

        GitFailed if it fails, with the first line that it printed to standard error. RemoteError if it cannot be run,
        or takes longer than `timeout`; then it is killed.
        """
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
            problem = f"{_name(arguments)} took longer than {self.timeout:g} seconds, and was killed"
            raise RemoteError(problem) from error
        except OSError as error:
            raise RemoteError(f"cannot run git: {error.strerror}") from error
        if done.returncode:
            errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise GitFailed(f"{_name(arguments)}: {errors[0] if errors else done.returncode}", done.returncode)
        return done.stdout


def _name(arguments: Sequence[bytes | str]) -> str:
    words = [os.fsdecode(word) for word in arguments]
    return f"git {words[0]}" if words else "git"
