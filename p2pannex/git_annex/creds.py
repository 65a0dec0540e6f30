"""The P2P authentication tokens that git-annex keeps in a repository (protocol-spec section 13.2).

::

    GITDIR/annex/creds/p2pauth             tokens that are accepted: lines of a token, a space, and the address for it
    GITDIR/annex/creds/NET%3AADDRESS       the token to send when connecting to that address

``git annex p2p --gen-addresses`` and ``--link`` write these files; this module only reads them. git-annex needs the
tokens in plain text, not hashed. They are compared in constant time here, and no message or log contains them.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import subprocess
from collections.abc import Collection

import trio

from p2pannex.access import INVALID, MAX_FILE, Grant, Mode, TokensUnreadable
from p2pannex.child_environment import child_environment

log = logging.getLogger(__name__)

GIT_TIMEOUT = 10.0
"""Seconds that ``git rev-parse`` may take."""


class P2PAuth:
    """The tokens for one address of a repository, ``p2p-annex::NET:ADDRESS``: the `Tokens` of a listener there.

    Each call reads the file again, and blocks while it does. RemoteError if the file cannot be read.
    """

    def __init__(self, git_dir: str | bytes | os.PathLike[str], address: str) -> None:
        self._path = os.path.join(os.fsencode(git_dir), b"annex", b"creds", b"p2pauth")
        self._address = os.fsencode(address)
        self._secret = secrets.token_bytes(32)
        self._warned = False

    def empty(self) -> bool:
        """Whether there is no token for this address, so that no client can authenticate."""
        return not self._tokens()

    def verify(self, token: str) -> Grant | None:
        """The grant of `token`: everything if it is a token for this address, otherwise None. Case does not matter."""
        presented = self._id(token.lower().encode("utf-8", "surrogateescape"))
        found: Grant | None = None
        for known in self._tokens():
            if hmac.compare_digest(self._id(known), presented):
                found = self._grant(presented)
        return found

    def refusal(self, token: str) -> str:
        """Why `verify` returns None for `token`: a line for logs, without the token."""
        return INVALID

    def surviving(self, grants: Collection[Grant]) -> set[Grant]:
        """Those of `grants`, which `verify` returned, whose tokens are still in the file."""
        return {grant for token in self._tokens() if (grant := self._grant(self._id(token))) in grants}

    def _id(self, token: bytes) -> bytes:
        """An identifier for a token, valid in this process: a digest keyed with a random secret.

        Users may choose weak tokens. A few digits of an unkeyed hash would be enough to guess those.
        """
        return hmac.digest(self._secret, token, hashlib.sha256)

    @staticmethod
    def _grant(name: bytes) -> Grant:
        return Grant(name[:8].hex(), Mode.READ_WRITE, "p2pauth")

    def _tokens(self) -> list[bytes]:
        found = []
        for line in (_read(self._path) or b"").splitlines():
            token, _, address = line.partition(b" ")
            if token.isalnum() and address == self._address:
                found.append(token.lower())
        if found and not self._warned and os.stat(self._path).st_mode & 0o077:
            self._warned = True
            log.warning("%s has tokens in it, and other users can access it; run: chmod 600", os.fsdecode(self._path))
        return found


def kept_token(git_dir: str | bytes | os.PathLike[str], net: str, address: str) -> str | None:
    """The token that git-annex sends when it connects to that address; None if it has none.

    RemoteError if the file cannot be read.
    """
    name = os.fsencode(_escaped(f"{net}:{address}"))
    content = _read(os.path.join(os.fsencode(git_dir), b"annex", b"creds", name))
    return os.fsdecode(content).strip() or None if content else None


async def current_git_dir() -> bytes | None:
    """The git directory of the repository of the current directory, or None if there is none or git fails.

    In a linked worktree it is the common git directory of all worktrees.
    """
    command = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]
    with trio.move_on_after(GIT_TIMEOUT):
        try:
            done = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False, env=child_environment()
            )
        except OSError:
            return None
        return done.stdout.removesuffix(b"\n") if not done.returncode else None
    return None


def _escaped(text: str) -> str:
    """The file name that git-annex uses: all characters except letters and digits, of any script, are %-escaped."""
    return "".join(
        letter if letter.isalnum() else "".join(f"%{byte:02X}" for byte in os.fsencode(letter)) for letter in text
    )


def _read(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        if len(os.path.basename(path)) > 255:
            return None
        raise TokensUnreadable(f"cannot read {os.fsdecode(path)}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise TokensUnreadable(f"{os.fsdecode(path)} is too large")
    return content


__all__ = ["P2PAuth", "current_git_dir", "kept_token"]
