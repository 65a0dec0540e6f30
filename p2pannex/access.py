"""Tokens: which clients may use a repository over a socket, in which mode, and until when (protocol-spec section 13).

A token is the only credential that a client sends. It has 165 random bits, too many to guess. Therefore a plain SHA-256
hash of it is enough on disk: slow, salted hashes are for passwords, which people choose and attackers can guess.

The tokens of a repository are in the file ``p2pannex.access`` in its directory. A server reads the file anew for each
client, so a revoked token is refused from then on, without a restart.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import secrets
import string
import time
from collections.abc import Collection, Iterator
from enum import Enum
from typing import Any

from attrs import asdict, frozen

from p2pannex.errors import RemoteError
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors
from p2pannex.system.durability import replace_file
from p2pannex.system.file_locks import sole_writer

FILE = b"p2pannex.access"
ALPHABET = string.ascii_lowercase + string.digits
LENGTH = 32
"""Characters of a token. Together they have 165 random bits."""
INVALID = "its token is not valid"
"""Why a client was not accepted, in a server's log."""

MAX_FILE = 16 << 20
"""The largest file that is read, in bytes: some tens of thousands of tokens."""


class TokensUnreadable(RemoteError):
    """The token file is malformed or cannot be read. No token is valid until the file is repaired."""


class Mode(Enum):
    """What clients may do to the repository. Locking is allowed in every mode, because it protects content."""

    READ_WRITE = "read-write"
    APPEND_ONLY = "append-only"
    READ_ONLY = "read-only"


@frozen
class Grant:
    """What a token allows. It contains no secret."""

    id: str
    """Identifies the token in logs and commands without revealing it."""
    mode: Mode = Mode.READ_WRITE
    name: str = ""
    """A name that the owner of the repository chose; may be empty."""
    expires: int | None = None
    """The token is valid before this time, in POSIX seconds. None: it does not expire."""
    created: int = 0
    """When the token was created, in POSIX seconds."""


@frozen
class _Entry:
    grant: Grant
    hash: str


class TokenFile:
    """The token file of the repository in `directory`. Its methods block while they read or write this small file.

    Every method raises RemoteError if the file cannot be read or written.
    """

    def __init__(self, directory: str | bytes | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._directory = os.fsencode(directory)
        self._path = os.path.join(self._directory, FILE)
        self._clock = clock or SystemClock()

    def create(
        self, *, mode: Mode = Mode.READ_WRITE, expires: float | None = None, name: str = ""
    ) -> tuple[str, Grant]:
        """Create a token. Returns the token, which is not stored and cannot be shown again, and what it grants.

        `expires` is in POSIX seconds and is rounded down. RemoteError if another token has this name.
        """
        if not name.isprintable():
            raise RemoteError("the name of a token must be one line of printable text")
        token = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        end = None if expires is None else math.floor(expires)
        grant = Grant(secrets.token_hex(4), mode, name, end, int(self._clock.wall()))
        with self._writing() as entries:
            if name and any(name in (entry.grant.name, entry.grant.id) for entry in entries):
                raise RemoteError(f"a token named {name} exists already; revoke it first, or choose another name")
            entries.append(_Entry(grant, _hash(token)))
        return token, grant

    def revoke(self, which: str) -> Grant | None:
        """Delete the token with this id or name. Returns what it granted, or None if there is no such token."""
        with self._writing() as entries:
            for entry in entries:
                if which and which in (entry.grant.id, entry.grant.name):
                    entries.remove(entry)
                    return entry.grant
        return None

    def grants(self) -> list[Grant]:
        """What each token grants, expired tokens included, in the order of their creation."""
        return [entry.grant for entry in self._read()]

    def verify(self, token: str) -> Grant | None:
        """What `token` grants, or None if it is unknown, revoked or expired. Case is ignored.

        The time that this takes does not depend on how similar `token` is to a valid one.
        """
        grant = self._find(token)
        return grant if grant is not None and self._unexpired(grant) else None

    def refusal(self, token: str) -> str:
        """Why `verify` returns None for `token`: a line for logs, without the token."""
        grant = self._find(token)
        if grant is None or grant.expires is None or self._unexpired(grant):
            return INVALID
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(grant.expires))
        return f"its token {' '.join(filter(None, (grant.id, grant.name)))} expired at {when}"

    def _find(self, token: str) -> Grant | None:
        """What `token` grants or has granted. It compares all tokens, also after it has found this one."""
        digest = _hash(token)
        found: Grant | None = None
        for entry in self._read():
            if hmac.compare_digest(entry.hash, digest):
                found = entry.grant
        return found

    def surviving(self, grants: Collection[Grant]) -> set[Grant]:
        """The `grants`, returned by `verify` earlier, whose tokens are still valid: neither revoked nor expired."""
        return {grant for grant in self.grants() if grant in grants and self._unexpired(grant)}

    def _unexpired(self, grant: Grant) -> bool:
        return grant.expires is None or self._clock.wall() < grant.expires

    # The file ---------------------------------------------------------------------------------------------------

    def _read(self) -> list[_Entry]:
        try:
            with open(self._path, "rb") as file:
                raw = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TokensUnreadable(f"cannot read {self._name}: {error.strerror}") from error
        try:
            if len(raw) > MAX_FILE:
                raise ValueError("it is too large")
            return [_entry(item) for item in json.loads(raw)["tokens"]]
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise TokensUnreadable(
                f"{self._name} is not a valid token file; repair it, or delete it and create new tokens"
            ) from problem

    @property
    def _name(self) -> str:
        return os.fsdecode(self._path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[list[_Entry]]:
        """The entries, to be changed in place. The file is locked meanwhile and written at the end if they changed."""
        with contextlib.ExitStack() as stack:
            with disk_errors(f"cannot change {self._name}"):
                stack.enter_context(sole_writer(self._path))
            entries = self._read()
            before = list(entries)
            yield entries
            if entries != before:
                with disk_errors(f"cannot change {self._name}"):
                    self._write(entries)

    def _write(self, entries: list[_Entry]) -> None:
        items = [asdict(entry.grant) | {"mode": entry.grant.mode.value, "hash": entry.hash} for entry in entries]
        replace_file(self._path, (json.dumps({"tokens": items}, indent=1) + "\n").encode())


def _hash(token: str) -> str:
    return hashlib.sha256(token.lower().encode("utf-8", "surrogateescape")).hexdigest()


def _entry(item: dict[str, Any]) -> _Entry:
    expires, created, digest = item["expires"], item["created"], item["hash"]
    if not (expires is None or type(expires) is int) or type(created) is not int:
        raise ValueError("times are whole seconds")
    if not (isinstance(digest, str) and len(digest) == 64 and digest.isascii()):
        raise ValueError("a hash is 64 digits")
    return _Entry(Grant(str(item["id"]), Mode(item["mode"]), str(item["name"]), expires, created), digest)
