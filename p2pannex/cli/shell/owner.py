"""Whether the account's owner has put a directory in its place on purpose, or a client may have put it there.

A client of p2pannex-shell names the directory. Its configuration, of git or of p2pannex, can name programs to run. So:

- A gateway directory is served if it is on the owner's list (`p2pannex.stores.trusted_directories`), or if
  GIT_ANNEX_SHELL_DIRECTORY names it.
- A directory store of another user is refused unless it is on the list. git itself refuses repositories of other users.
- What a push has put into a work tree is refused: git can write a whole bare repository there, with a configuration and
  hooks. Only ``.git`` is never written by a push.
"""

from __future__ import annotations

import os

from p2pannex.cli.shell.command_line import CommandRefused, is_set
from p2pannex.restrictions import DIRECTORY, VARIABLES
from p2pannex.stores.directory_config import CONFIG, is_gateway, may_be_gateway
from p2pannex.stores.trusted_directories import is_trusted, owner_problem


def check_store(directory: bytes) -> None:
    """CommandRefused if the directory, which has a p2pannex.toml, is not one that the account's owner serves."""
    if problem := owner_problem(directory, CONFIG):
        raise CommandRefused(problem)
    if may_be_gateway(directory) and not _allows_gateway(directory) and is_gateway(directory):
        refuse_gateway(directory)


def check_gateway(directory: bytes) -> None:
    """CommandRefused if this gateway directory may not be served."""
    if not _allows_gateway(directory):
        refuse_gateway(directory)


def refuse_gateway(directory: bytes) -> None:
    shown = os.fsdecode(directory)
    raise CommandRefused(
        f"{shown} is the gateway of a cluster, and the owner of this account has not allowed it; "
        f"allow it with: p2pannex trust {shown}"
    )


def _allows_gateway(directory: bytes) -> bool:
    return is_set(VARIABLES[DIRECTORY]) or is_trusted(directory)


def check_not_pushed(directory: str) -> None:
    """CommandRefused if the directory is part of a commit that is checked out in a work tree around it."""
    if is_set(VARIABLES[DIRECTORY]):
        return  # the owner has named it
    path = os.path.realpath(os.fsencode(directory))
    if os.path.lexists(os.path.join(path, b".git")) or b".git" in path.split(b"/"):
        return
    above = os.path.dirname(path)
    while True:
        if os.path.lexists(os.path.join(above, b".git")) and _is_tracked(above, path):
            raise CommandRefused(
                f"{directory} is part of the work tree of {os.fsdecode(above)}, where a push may have put it; "
                f"allow it with: p2pannex trust {directory}"
            )
        if above == os.path.dirname(above):
            return
        above = os.path.dirname(above)


def _is_tracked(work_tree: bytes, path: bytes) -> bool:
    if is_trusted(path):
        return False
    from p2pannex.git_annex.config import git

    # If git fails, the repository belongs to another user, and git does not let this account push to it either.
    _, output, _ = git(work_tree, b"--literal-pathspecs", b"ls-files", b"--", path, path + b".git")
    return bool(output)
