"""A git repository that becomes a git-annex repository because a client wants to use it as one.

Clients of git-annex push to a git repository first and ask it for its UUID then, so it is `configlist` that has it
initialised: where the client asks for that (the field ``autoinit=1``), or where a git-annex branch is in it already.
git-annex does it, as it knows what is to be tried out and set up in a new repository.
"""

from __future__ import annotations

import fcntl
import os

from p2pannex.cli.shell.command_line import CommandRefused, is_set
from p2pannex.git_annex.config import NotAnAnnex, NotInitialised, read_annex_config, run
from p2pannex.git_annex.values import is_true


def initialise(directory: str, *, asked: bool) -> bool:
    """Have git-annex initialise the repository; False where nobody wants that, or its owner does not.

    CommandRefused where it has to be, and cannot.
    """
    path = os.fsencode(directory)
    try:
        read_annex_config(path)
    except NotInitialised as error:
        git_dir, values = error.git_dir, error.values
    else:
        return True  # somebody was faster
    if not asked and not _has_branch(git_dir):
        return False
    if "annex.autoinit" in values and not is_true(values["annex.autoinit"]):
        return False
    if is_set("GIT_ANNEX_SHELL_READONLY"):
        raise CommandRefused("action blocked by GIT_ANNEX_SHELL_READONLY")
    lock = os.open(git_dir, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several clients that come at the same time, the first has it done
        try:
            read_annex_config(path)
        except NotInitialised:
            _git_annex_init(directory, git_dir)
        except NotAnAnnex:
            pass  # what is wrong with it now is told by whoever asks next
    finally:
        os.close(lock)
    return True


def _has_branch(git_dir: bytes) -> bool:
    status, _, _ = run(b"git", b"-C", git_dir, b"show-ref", b"--quiet", b"git-annex")
    return status == 0


def _git_annex_init(directory: str, git_dir: bytes) -> None:
    top = os.path.dirname(git_dir) if os.path.basename(git_dir) == b".git" else git_dir
    # Special remotes that enable themselves would do so with this account's credentials: that is for its owner.
    status, output, errors = run(b"git", b"-C", top, b"annex", b"init", b"--quiet", b"--no-autoenable")
    if status:
        said = os.fsdecode(errors + output)
        if "is not a git command" in said:
            raise CommandRefused(
                f"{directory} has no annex.uuid, and git-annex, which would initialise it, is not installed here"
            )
        words = "; ".join(line.strip() for line in said.splitlines() if line.strip())
        raise CommandRefused(f"git annex init fails in {directory}: {words or f'exit status {status}'}")
