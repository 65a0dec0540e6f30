"""The git configuration of a git-annex repository: its git directory, its uuid and its settings.

One run of ``git config --list`` reads it. So includes, conditional includes and git's ownership check work as in every
other git program.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start.
"""

from __future__ import annotations

import os

from p2pannex.child_environment import git_environment
from p2pannex.git_annex.values import is_true, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 10
"""The version of git-annex repositories (annex.version) that is supported."""

DISK_RESERVE = 100_000_000
"""Bytes that git-annex leaves free on the disk if annex.diskreserve is not set."""

LOG_MAX = 1 << 20
"""Bytes of the largest log of the git-annex branch that is read: the lines of some ten thousand repositories. Setting:
p2pannex.maxLogSize."""

OUTPUT_MAX = 16 << 20
"""Bytes that a git command may print, unless its caller allows fewer."""

BLOCK = 1 << 16


class NotAnAnnex(Exception):
    """The directory cannot be served as a git-annex repository. The text is one line that says what to do."""


class NotInitialised(NotAnAnnex):
    """The directory has a git repository, but it has no annex.uuid. `values` are its settings."""

    def __init__(self, message: str, place: _Place, values: Mapping[str, str]) -> None:
        super().__init__(message)
        self.git_dir = place.git_dir
        self.named = place.top
        self.values = values


class TooMuchOutput(NotAnAnnex):
    """A git command printed more than its caller reads."""


class AnnexConfig:
    """A repository's settings. Made by `read_annex_config`."""

    def __init__(
        self, git_dir: bytes, values: Mapping[str, str], *, top: bytes | None = None, linked: bool = False
    ) -> None:
        self.git_dir = git_dir
        self.values = values
        self.uuid = values["annex.uuid"]
        bare = values.get("core.bare")
        self.bare = not linked and (is_true(bare) if bare is not None else os.path.basename(git_dir) != b".git")
        """Whether there is no work tree. A worktree of a bare repository is one."""
        self.named = git_dir if top is None else top
        """The directory that the repository was found in."""
        self.top = git_dir if self.bare else work_tree(git_dir, self.named)
        """The top of the work tree, or the repository itself if it is bare."""
        self.crippled = is_true(values.get("annex.crippledfilesystem"))
        self.secure_hashes_only = is_true(values.get("annex.securehashesonly"))
        self.shared = values.get("core.sharedrepository")
        self.disk_reserve = parse_size(values.get("annex.diskreserve"), DISK_RESERVE)
        self.log_max = parse_size(values.get("p2pannex.maxlogsize"), LOG_MAX)
        self.pid_lock = is_true(values.get("annex.pidlock"))

    @property
    def private_uuids(self) -> frozenset[str]:
        """The repositories about which nothing is recorded in the git-annex branch."""
        private: set[str | None] = set()
        if any(name.endswith(".annex-private") for name in self.values):  # otherwise nothing need be imported and read
            from p2pannex.git_annex.remotes import git_remotes

            private |= {remote.uuid for remote in git_remotes(self.values) if remote.private}
        if is_true(self.values.get("annex.private")):
            private.add(self.uuid)
        return frozenset(uuid for uuid in private if uuid)


def work_tree(git_dir: bytes, named: bytes) -> bytes:
    """The top of the work tree of a repository that was found in `named`."""
    if os.path.realpath(named) == git_dir and os.path.basename(git_dir) == b".git":
        return os.path.dirname(git_dir)
    return named


class _Place:
    """Where a repository is: the directory that git is run in, and the git directory that all its worktrees share.

    `linked` if `top` is a worktree that has a git directory of its own besides.
    """

    def __init__(self, top: bytes, git_dir: bytes, *, linked: bool) -> None:
        self.top = top
        self.git_dir = git_dir
        self.linked = linked


def looks_like_git(directory: bytes) -> bool:
    """Whether the directory has signs of a git repository, usable or not."""
    return _place(directory) is not None or os.path.exists(os.path.join(directory, b".git"))


def read_annex_config(directory: bytes) -> AnnexConfig:
    """Read the settings of the repository in `directory`: a work tree, a ``.git``, or a bare repository.

    A worktree (``git worktree``) or submodule is the repository that it belongs to, as for git-annex. NotAnAnnex if
    there is no git-annex repository, or not one that can be served. It blocks while git runs.
    """
    shown = os.fsdecode(directory)
    place = _place(directory)
    if place is None:
        if not os.path.exists(directory):
            raise NotAnAnnex(f"there is no {shown}")
        if os.path.lexists(os.path.join(directory, b".git")):
            raise NotAnAnnex(f"{shown} is not a git repository: its .git leads to none")
        raise NotAnAnnex(f"{shown} is not a git repository")
    git_dir = place.git_dir
    values = _git_config(place.top, shown)
    if not values.get("annex.uuid"):
        problem = (
            f"{shown} has no annex.uuid; git annex init gives a new repository one, git annex reinit UUID gives back "
            "one that it had"
        )
        raise NotInitialised(problem, place, values)
    uuid = values["annex.uuid"]
    if not uuid.isprintable() or " " in uuid:
        raise NotAnAnnex(f"{shown} has no usable annex.uuid in its git config")
    version = values.get("annex.version", "")
    if version != str(VERSION):
        if version.isdecimal() and len(version) < 10 and int(version) > VERSION:
            raise NotAnAnnex(f"{shown} is a git-annex repository of version {version}; only {VERSION} is supported")
        raise NotAnAnnex(
            f"{shown} is a git-annex repository of version {version or 'unknown'}; upgrade it to {VERSION} with: "
            "git annex upgrade"
        )
    for name, value in values.items():
        if name.startswith("annex.tune.") and is_true(value):
            raise NotAnAnnex(f"{shown} was made with {name}, which is not supported")
    return AnnexConfig(git_dir, values, top=place.top, linked=place.linked)


def _place(directory: bytes) -> _Place | None:
    """Find the repository, by git's rules for ``.git`` files and ``commondir``. Parent directories are not searched."""
    candidates = [(directory, os.path.join(directory, b".git")), (directory, directory)]
    if not os.path.isdir(directory):  # if it is one, another directory must not be used instead of it
        bare = directory.rstrip(b"/") + b".git"
        candidates.append((bare, bare))
    for top, start in candidates:
        git_dir = start
        if os.path.isfile(start):
            text = _first_line(start)
            if not text.startswith(b"gitdir: "):
                continue
            git_dir = os.path.join(top, text.removeprefix(b"gitdir: "))
        common = _first_line(os.path.join(git_dir, b"commondir"))
        shared = os.path.join(git_dir, common) if common else git_dir
        if os.path.exists(os.path.join(git_dir, b"HEAD")) and os.path.isdir(os.path.join(shared, b"objects")):
            return _Place(top, os.path.realpath(shared), linked=bool(common) and start != directory)
    return None


def _first_line(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.readline().rstrip(b"\r\n")
    except OSError:
        return b""


def git(directory: bytes, *arguments: bytes, output_max: int = OUTPUT_MAX) -> tuple[int, bytes, bytes]:
    """Run git in a repository that a client named. The results are those of `run`.

    git finds the repository by itself, so that it checks who owns it, and whether safe.directory allows another owner:
    with --git-dir it would not. It does not go on to parent directories. A bare repository is allowed even if
    safe.bareRepository is ``explicit``: that is for those that git finds on its way, and this one was named.
    """
    variables = {"GIT_CEILING_DIRECTORIES": os.fsdecode(os.path.dirname(os.path.realpath(directory)))}
    options = (b"-c", b"safe.bareRepository=all", b"-C", directory)
    return run(b"git", *options, *arguments, variables=variables, output_max=output_max)


def _git_config(top: bytes, shown: str) -> dict[str, str]:
    status, output, errors = git(top, b"config", b"--list", b"-z")
    values: dict[str, str] = {}
    for entry in output.split(b"\0"):
        name, newline, value = entry.partition(b"\n")
        setting = name.decode(errors="surrogateescape")
        text = value.decode(errors="surrogateescape") if newline else "true"
        if setting.endswith("insteadof") and setting in values:
            text = f"{values[setting]}\n{text}"  # it may be set several times; of other settings the last one counts
        values[setting] = text
    if not status and "core.repositoryformatversion" in values:
        return values
    if not status:  # git found no repository, and printed no reason: rev-parse prints one
        status, _, errors = git(top, b"rev-parse", b"--git-dir")
    problem = os.fsdecode(errors.strip().partition(b"\n")[0]).removeprefix("fatal: ") or "it gives no reason"
    if "dubious ownership" in problem:
        problem += f"; allow it with: git config --global --add safe.directory {_named(errors) or os.fsdecode(top)}"
    raise NotAnAnnex(f"git refuses to read {shown}: {problem}")


def _named(errors: bytes) -> str | None:
    """The directory that git itself says to allow."""
    words = os.fsdecode(errors).split("safe.directory ")
    return words[-1].strip() if len(words) > 1 else None


def run(
    *command: bytes, variables: Mapping[str, str] | None = None, output_max: int = OUTPUT_MAX
) -> tuple[int, bytes, bytes]:
    """Run a program that prints little. Returns its exit status, standard output and standard error. It blocks.

    TooMuchOutput if it prints more than `output_max` bytes. The rest is not read, so the program ends.
    """
    environment = git_environment() | {"LC_ALL": "C", **(variables or {})}
    errors = os.memfd_create("errors")
    try:
        output, written = os.pipe2(os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, written, 1),
            (os.POSIX_SPAWN_DUP2, errors, 2),
        ]
        try:
            process = os.posix_spawnp(command[0], command, environment, file_actions=actions)
        except OSError as error:
            os.close(output)
            raise NotAnAnnex(f"cannot run git: {error.strerror}") from error
        finally:
            os.close(written)
        text = _read_some(output, output_max)
        _, status = os.waitpid(process, 0)
        if len(text) > output_max:
            raise TooMuchOutput(f"{os.fsdecode(b' '.join(command[-2:]))} prints more than {output_max} bytes")
        return os.waitstatus_to_exitcode(status), text, os.pread(errors, os.fstat(errors).st_size, 0)
    finally:
        os.close(errors)


def _read_some(fd: int, limit: int) -> bytes:
    """What can be read from a pipe; if there is more than `limit` bytes, some more than that. It closes the pipe."""
    try:
        text = block = os.read(fd, BLOCK)
        while block and len(text) <= limit:
            block = os.read(fd, BLOCK)
            text += block
        return text
    finally:
        os.close(fd)
