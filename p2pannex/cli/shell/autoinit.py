"""Initialise a git repository for git-annex when a client starts to use it.

A git-annex client first pushes to a new git repository and then requests its UUID with `configlist`. That command
initialises the repository if the client requests it (with the field ``autoinit=1``), or if the repository has a
git-annex branch already. It runs `git annex init`, because only git-annex knows what a new repository needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from p2pannex.cli.shell.command_line import CommandRefused, refuse
from p2pannex.git_annex.config import NotAnAnnex, NotInitialised, git, read_annex_config, work_tree
from p2pannex.git_annex.values import is_true
from p2pannex.restrictions import AUTOINIT
from p2pannex.system.file_locks import Busy, sole_writer


def initialise(directory: str, *, requested: bool) -> bool:
    """Initialise a git repository for git-annex, unless another client has done it meanwhile.

    Returns False if the repository is left as it is: the client has not `requested` it and there is no git-annex
    branch, or its owner has set annex.autoinit to false. Raises CommandRefused if it cannot be initialised.
    """
    path = os.fsencode(directory)
    try:
        read_annex_config(path)
    except NotInitialised as error:
        git_dir, named, values = error.git_dir, error.named, error.values
    else:
        return True  # another client was faster
    if not requested and not _has_branch(named):
        return False
    if "annex.autoinit" in values and not is_true(values["annex.autoinit"]):
        return False
    refuse(AUTOINIT)
    with _only_one(git_dir):
        try:
            read_annex_config(path)
        except NotInitialised:
            _git_annex_init(directory, work_tree(git_dir, named))
        except NotAnAnnex:
            pass  # the caller reads the configuration again, and reports what is wrong with it
    return True


@contextmanager
def _only_one(git_dir: bytes) -> Iterator[None]:
    """Of several clients at the same time, only one initialises the repository. CommandRefused if that takes too long.

    The lock is on a file that only this account can open: all who may read the git directory could lock that. Without
    the file, git annex init may run twice, which does no harm.
    """
    path = os.path.join(git_dir, b"p2pannex.init")
    with ExitStack() as stack:
        try:
            with suppress(OSError):
                stack.enter_context(sole_writer(path, remove=True))
        except Busy as error:
            raise CommandRefused(str(error)) from error
        yield


def _has_branch(named: bytes) -> bool:
    status, _, _ = git(named, b"show-ref", b"--quiet", b"git-annex")
    return status == 0


def _git_annex_init(directory: str, top: bytes) -> None:
    # --no-autoenable: only the owner of this account may decide that special remotes are used with its credentials.
    status, output, errors = git(top, b"annex", b"init", b"--quiet", b"--no-autoenable")
    if status:
        printed = os.fsdecode(errors + output)
        if "is not a git command" in printed:
            raise CommandRefused(
                f"{directory} has no annex.uuid, and git-annex, which would initialise it, is not installed here"
            )
        problem = "; ".join(line.strip() for line in printed.splitlines() if line.strip())
        raise CommandRefused(f"git annex init fails in {directory}: {problem or f'exit status {status}'}")
