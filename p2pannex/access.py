"""Tokens: who may speak to a repository over a socket, how much, and until when (protocol-spec section 13).

A token is the only thing a client shows, so it is made from more randomness than anybody can guess. That is also why
a plain SHA-256 of it is all that is kept: slow, salted hashes protect passwords that people choose, because those can
be guessed; from the hash of 165 random bits there is no way back.

They live in the file ``p2pannex.access`` of a directory. It is read anew for each client, so that a token that was
revoked lets nobody in from then on, and nobody has to restart a server.
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
"""Characters of a token: 165 bits."""
MAX_FILE = 16 << 20
"""Bytes that the file may have: some tens of thousands of tokens."""


class TokensUnreadable(RemoteError):
    """The file of tokens makes no sense, or cannot be read. It grants nothing until somebody has looked at it."""


class Mode(Enum):
    """What clients may do to the repository. Locking is allowed in every mode: it protects content."""

    READ_WRITE = "read-write"
    APPEND_ONLY = "append-only"
    READ_ONLY = "read-only"


@frozen
class Grant:
    """What a token allows. It holds nothing secret."""

    id: str
    """Names the token where the token itself must not be said."""
    mode: Mode = Mode.READ_WRITE
    name: str = ""
    """What its owner calls it."""
    expires: int | None = None
    """POSIX seconds from which on it grants nothing; None is never."""
    created: int = 0
    """POSIX seconds."""


@frozen
class _Entry:
    grant: Grant
    hash: str


class TokenFile:
    """The tokens of the repository in `directory`. Its calls block for as long as small files take.

    RemoteError, from everything here, for what the disk refuses.
    """

    def __init__(self, directory: str | bytes | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._directory = os.fsencode(directory)
        self._path = os.path.join(self._directory, FILE)
        self._clock = clock or SystemClock()

    def create(
        self, *, mode: Mode = Mode.READ_WRITE, expires: float | None = None, name: str = ""
    ) -> tuple[str, Grant]:
        """A new token, which is told here and never again, and what it grants.

        `expires`, in POSIX seconds, is rounded down. `name` must not be another token's.
        """
        if not name.isprintable():
            raise RemoteError("a token's name is a line of text")
        token = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        end = None if expires is None else math.floor(expires)
        grant = Grant(secrets.token_hex(4), mode, name, end, int(self._clock.wall()))
        with self._writing() as entries:
            if name and any(name in (entry.grant.name, entry.grant.id) for entry in entries):
                raise RemoteError(f"there is a token named {name} already; revoke it first, or choose another name")
            entries.append(_Entry(grant, _hash(token)))
        return token, grant

    def revoke(self, which: str) -> Grant | None:
        """Forget the token with this id or name; what it granted, or None where there is no such token."""
        with self._writing() as entries:
            for entry in entries:
                if which and which in (entry.grant.id, entry.grant.name):
                    entries.remove(entry)
                    return entry.grant
        return None

    def grants(self) -> list[Grant]:
        """What is granted, expired tokens included, in the order in which they were made."""
        return [entry.grant for entry in self._read()]

    def verify(self, token: str) -> Grant | None:
        """What `token` grants; None for one that is unknown, revoked or expired. Capitals do not matter.

        It takes as long for one token as for another, whatever they have in common with the right one.
        """
        digest = _hash(token)
        found: Grant | None = None
        for entry in self._read():
            if hmac.compare_digest(entry.hash, digest):
                found = entry.grant
        return found if found is not None and self._in_time(found) else None

    def surviving(self, grants: Collection[Grant]) -> set[Grant]:
        """Those of `grants`, which `verify` gave, that are still good: neither revoked nor expired since."""
        return {grant for grant in self.grants() if grant in grants and self._in_time(grant)}

    def _in_time(self, grant: Grant) -> bool:
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
                f"{self._name} makes no sense; repair it, or remove it and make new tokens"
            ) from problem

    @property
    def _name(self) -> str:
        return os.fsdecode(self._path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[list[_Entry]]:
        """The tokens, to be changed in place, while nobody else changes them; written at the end."""
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
