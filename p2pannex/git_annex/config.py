"""The git configuration of a git-annex repository: its git directory, its uuid and its settings.

One run of ``git config --list`` reads it. So includes, conditional includes and git's ownership check work as in every
other git program.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start.
"""

from __future__ import annotations

import os

from p2pannex.git_annex.values import is_true, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 10
"""The version of git-annex repositories (annex.version) that is supported."""

DISK_RESERVE = 100_000_000
"""Bytes that git-annex leaves free on the disk if annex.diskreserve is not set."""

_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""Environment variables that would direct git to another repository than the one in the directory."""


class NotAnAnnex(Exception):
    """The directory cannot be served as a git-annex repository. The text is one line that says what to do."""


class NotInitialised(NotAnAnnex):
    """The directory has a git repository, but it has no annex.uuid. `values` are its settings."""

    def __init__(self, message: str, git_dir: bytes, values: Mapping[str, str]) -> None:
        super().__init__(message)
        self.git_dir = git_dir
        self.values = values


class AnnexConfig:
    """A repository's settings. Made by `read_annex_config`."""

    def __init__(self, git_dir: bytes, values: Mapping[str, str]) -> None:
        self.git_dir = git_dir
        self.values = values
        self.uuid = values["annex.uuid"]
        bare = values.get("core.bare")
        self.bare = is_true(bare) if bare is not None else os.path.basename(git_dir) != b".git"
        self.crippled = is_true(values.get("annex.crippledfilesystem"))
        self.secure_hashes_only = is_true(values.get("annex.securehashesonly"))
        self.shared = values.get("core.sharedrepository")
        self.disk_reserve = parse_size(values.get("annex.diskreserve"), DISK_RESERVE)


def looks_like_git(directory: bytes) -> bool:
    """Whether the directory has signs of a git repository, usable or not."""
    return _git_dir(directory) is not None or os.path.exists(os.path.join(directory, b".git"))


def read_annex_config(directory: bytes) -> AnnexConfig:
    """Read the settings of the repository in `directory`: the top of a work tree, a ``.git``, or a bare repository.

    NotAnAnnex if there is no git-annex repository, or not one that can be served. It blocks while git runs.
    """
    shown = os.fsdecode(directory)
    git_dir = _git_dir(directory)
    if git_dir is None:
        if any(os.path.exists(os.path.join(directory, *names, b"commondir")) for names in ((), (b".git",))):
            raise NotAnAnnex(f"{shown} is a worktree of another repository; serve the repository that it belongs to")
        if os.path.isfile(os.path.join(directory, b".git")):
            raise NotAnAnnex(
                f"{shown} is a worktree or submodule whose .git is a file; serve the repository that it belongs to"
            )
        if not os.path.exists(directory):
            raise NotAnAnnex(f"there is no {shown}")
        raise NotAnAnnex(f"{shown} is not a git repository")
    values = _git_config(git_dir, shown)
    if not values.get("annex.uuid"):
        problem = f"{shown} has no annex.uuid; make it a git-annex repository with: git annex init"
        raise NotInitialised(problem, git_dir, values)
    uuid = values["annex.uuid"]
    if not uuid.isprintable() or " " in uuid:
        raise NotAnAnnex(f"{shown} has no usable annex.uuid in its git config")
    version = values.get("annex.version", "")
    if version != str(VERSION):
        if version.isdecimal() and int(version) > VERSION:
            raise NotAnAnnex(f"{shown} is a git-annex repository of version {version}; only {VERSION} is supported")
        raise NotAnAnnex(
            f"{shown} is a git-annex repository of version {version or 'unknown'}; upgrade it to {VERSION} with: "
            "git annex upgrade"
        )
    for name, value in values.items():
        if name.startswith("annex.tune.") and is_true(value):
            raise NotAnAnnex(f"{shown} was made with {name}, which is not supported")
    return AnnexConfig(git_dir, values)


def _git_dir(directory: bytes) -> bytes | None:
    for candidate in (os.path.join(directory, b".git"), directory, directory.rstrip(b"/") + b".git"):
        if os.path.exists(os.path.join(candidate, b"HEAD")) and os.path.isdir(os.path.join(candidate, b"objects")):
            return os.path.realpath(candidate)
    return None


def _git_config(git_dir: bytes, shown: str) -> dict[str, str]:
    # Git has to find the repository by itself: with --git-dir, it would skip its ownership check.
    status, output, errors = run(b"git", b"-C", git_dir, b"config", b"--list", b"-z")
    values = {}
    for entry in output.split(b"\0"):
        name, newline, value = entry.partition(b"\n")
        values[name.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape") if newline else "true"
    if not status and "core.repositoryformatversion" in values:
        return values
    if not status:  # git found no repository, and printed no reason: rev-parse prints one
        status, _, errors = run(b"git", b"-C", git_dir, b"rev-parse", b"--git-dir")
    problem = os.fsdecode(errors.strip().partition(b"\n")[0]).removeprefix("fatal: ") or "it gives no reason"
    if "dubious ownership" in problem:
        problem += f"; allow it with: git config --global --add safe.directory {os.fsdecode(git_dir)}"
    raise NotAnAnnex(f"git refuses to read {shown}: {problem}")


def run(*command: bytes) -> tuple[int, bytes, bytes]:
    """Run a program that prints little. Returns its exit status, standard output and standard error. It blocks."""
    environment = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, errors, 2),
        ]
        try:
            process = os.posix_spawnp(command[0], command, {**environment, "LC_ALL": "C"}, file_actions=actions)
        except OSError as error:
            raise NotAnAnnex(f"cannot run git: {error.strerror}") from error
        _, status = os.waitpid(process, 0)
        return os.waitstatus_to_exitcode(status), _content(output), _content(errors)
    finally:
        os.close(output)
        os.close(errors)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
