"""The account's own list of directories whose configuration it trusts.

The `p2pannex.toml` of a gateway directory names programs to run and places to connect to. A client of p2pannex-shell
chooses the directory, and may have put the file there: into a directory that others can write to, or by a push that
updates a work tree. The owner of the file proves nothing then. So p2pannex-shell serves a gateway directory only if the
owner of the account has put its path on a list that is outside of every such directory.

The list is the file ``$XDG_CONFIG_HOME/p2pannex/trusted-directories`` (by default in ``~/.config``). Each line has the
user id of the directory's owner, a space, and the absolute path. `p2pannex cluster init` adds the new directory;
`p2pannex trust` adds and removes any. A directory on the list may belong to another user, like a repository in git's
safe.directory, but only to the one who owned it when it was added.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start.
"""

from __future__ import annotations

import os

NAME = "trusted-directories"


def list_path() -> bytes:
    """The path of the list. It need not exist."""
    from p2pannex.system.user_directories import config_directory  # mostly the list is not read: see above

    return os.fsencode(os.path.join(config_directory(), NAME))


def trusted_directories() -> dict[bytes, int]:
    """The directories on the list, and their owners. A list that belongs to another user counts as empty."""
    found: dict[bytes, int] = {}
    try:
        with open(list_path(), "rb") as file:
            if not _is_ours(os.fstat(file.fileno()).st_uid):
                return {}
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        owner, _, path = line.partition(b" ")
        if owner.isdigit() and path.startswith(b"/"):
            found[path] = int(owner)
    return found


def is_trusted(directory: str | bytes) -> bool:
    """Whether the directory is on the list, and has the same owner as when it was added."""
    owner = _owner_on_list(os.fsencode(directory))
    # Not our own either, if it was another: who can write to its parent can move another directory of ours there.
    try:
        return owner is not None and os.stat(directory).st_uid == owner
    except OSError:
        return False


def _owner_on_list(directory: bytes) -> int | None:
    directories = trusted_directories()
    return directories.get(os.path.realpath(directory)) if directories else None


def owner_problem(directory: str | bytes, *files: bytes) -> str | None:
    """What is wrong if the directory, or one of these files in it, belongs to another user and is not on the list.

    None if nothing is. Files of root are accepted. What does not exist is not looked at.
    """
    path = os.fsencode(directory)
    for each in (path, *(os.path.join(path, name) for name in files)):
        try:
            owner = os.stat(each).st_uid
        except OSError:
            continue
        if not _is_ours(owner) and owner != _owner_on_list(path):
            return (
                f"{os.fsdecode(each)} belongs to user {owner}, not to user {os.geteuid()}, who runs this; "
                f"allow it with: p2pannex trust {os.fsdecode(path)}"
            )
    return None


def _is_ours(owner: int) -> bool:
    ours = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        ours.add(int(os.environ["SUDO_UID"]))  # as for git: root's files, and those of who became root with sudo
    return owner in ours


def trust(directory: str | bytes) -> None:
    """Add the directory to the list. RemoteError if the list cannot be written."""
    path = os.path.realpath(os.fsencode(directory))
    if b"\n" in path:
        from p2pannex.errors import RemoteError

        raise RemoteError(f"{os.fsdecode(path)!r} has a line break in its name and cannot be on the list")
    _change(path, os.stat(path).st_uid)


def trust_new(directory: str | bytes) -> None:
    """Add a directory that was just made. If the list cannot be written, a warning is logged."""
    import logging

    from p2pannex.errors import RemoteError

    try:
        trust(directory)
    except RemoteError as error:
        logging.getLogger(__name__).warning("%s; then run: p2pannex trust %s", error, os.fsdecode(directory))


def distrust(directory: str | bytes) -> None:
    """Take the directory off the list. RemoteError if the list cannot be written."""
    _change(os.path.realpath(os.fsencode(directory)), None)


def _change(directory: bytes, owner: int | None) -> None:
    # Imported here: p2pannex-shell never changes the list, and clients wait for imports.
    from p2pannex.system.disk_errors import disk_errors
    from p2pannex.system.durability import replace_file
    from p2pannex.system.file_locks import sole_writer

    path = list_path()
    with disk_errors(f"cannot change {os.fsdecode(path)}"):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with sole_writer(path):
            before = trusted_directories()
            after = {each: uid for each, uid in before.items() if each != directory}
            if owner is not None:
                after[directory] = owner
            if after != before:
                replace_file(path, b"".join(b"%d %b\n" % (uid, each) for each, uid in after.items()))
