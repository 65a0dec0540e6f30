"""The secrets of P2P networks in a git-annex repository, as git-annex keeps them (protocol-spec section 13.2).

::

    GITDIR/annex/creds/p2pauth             who is let in: a line each, the token, a space, the address it is good for
    GITDIR/annex/creds/NET%3AADDRESS       the token to show to whoever is there

``git annex p2p --gen-addresses`` and ``--link`` write them, we only read. The tokens are as git-annex needs them, not
hashed; here too they are compared in constant time, and never told to anybody.
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

from p2pannex.access import MAX_FILE, Grant, Mode, TokensUnreadable

log = logging.getLogger(__name__)

GIT_TIMEOUT = 10.0
"""Seconds that git may take to say where its directory is."""


class P2PAuth:
    """Who may connect to a repository at one address, ``p2p-annex::NET:ADDRESS``: the `Tokens` of a listener there.

    The file is read anew for each client, for as long as small files take; RemoteError where it cannot be read.
    """

    def __init__(self, git_dir: str | bytes | os.PathLike[str], address: str) -> None:
        self._path = os.path.join(os.fsencode(git_dir), b"annex", b"creds", b"p2pauth")
        self._address = os.fsencode(address)
        self._secret = secrets.token_bytes(32)
        self._warned = False

    def empty(self) -> bool:
        """Whether nobody can be let in."""
        return not self._tokens()

    def verify(self, token: str) -> Grant | None:
        """What `token` grants: everything, if it is one for this address. Capitals do not matter."""
        shown = self._id(token.lower().encode("utf-8", "surrogateescape"))
        found: Grant | None = None
        for known in self._tokens():
            if hmac.compare_digest(self._id(known), shown):
                found = self._grant(shown)
        return found

    def surviving(self, grants: Collection[Grant]) -> set[Grant]:
        """Those of `grants`, which `verify` gave, whose tokens are still in the file."""
        return {grant for token in self._tokens() if (grant := self._grant(self._id(token))) in grants}

    def _id(self, token: bytes) -> bytes:
        """Names a token in this process. With a secret in it, because nothing makes people choose tokens well, and of
        a bad one even some digits of a plain hash would tell."""
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
            log.warning("%s has tokens in it, and is not only yours: chmod 600", os.fsdecode(self._path))
        return found


def kept_token(git_dir: str | bytes | os.PathLike[str], net: str, address: str) -> str | None:
    """The token that git-annex shows at that address; None where it has none. RemoteError where it cannot be read."""
    name = os.fsencode(_escaped(f"{net}:{address}"))
    content = _read(os.path.join(os.fsencode(git_dir), b"annex", b"creds", name))
    return os.fsdecode(content).strip() or None if content else None


async def current_git_dir() -> bytes | None:
    """The git directory of the repository that we are in; of a worktree, the one it has in common with the others."""
    command = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]
    with trio.move_on_after(GIT_TIMEOUT):
        try:
            done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            return None
        return done.stdout.removesuffix(b"\n") if not done.returncode else None
    return None


def _escaped(text: str) -> str:
    """As git-annex names the file: all but letters and digits, of any script, is written with %."""
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
