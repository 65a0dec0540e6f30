"""Keys: the names that git-annex gives to contents.

A key consists of the backend that named the content, some fields (such as its size), and its name:

    SHA256E-s31390--f50d7ac4c6b9031379986bc362fcefb65f1e52621ce1708d537e740fefc59cc0.mp3
    backend  fields name

    BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE][-CCHUNKNUMBER]--NAME

Everything else about a key is computed from these bytes: the name of its file in an object directory,
the two directories above that file, and the verifier that checks whether some bytes are its content.

`Key.parse` accepts what git-annex accepts. That is less than git-annex's documentation states: the fields must
be in the order above, and the extensions in the name of an ...E key have at most 64 bytes. It is also more: a
backend can be any bytes without a hyphen. p2pannex differs from git-annex on purpose in three points, because
such a key would break a line or a path, or git-annex could not read it again:

- NUL and LF anywhere, and an empty name, are refused;
- a modification time above 2**63-1, which git-annex wraps around to a key that it cannot read, is refused;
- a number of more than 640 digits is refused (see `_MAX_DIGITS`).
"""

from __future__ import annotations

import hashlib

from p2pannex.keys.verify import SECURE_BACKENDS, Verifier, hash_backend_names, missing_hash

TYPE_CHECKING = False  # typing would import re, which would delay the first request

__all__ = ["InvalidKey", "Key", "Verifier", "hash_backend_names"]

_FIELDS = b"smSC"
_MAX_MTIME = 2**63 - 1
_MAX_DIGITS = 640  # the lowest limit that Python can be configured to set on int(): up to it, int() always works
_MAX_EXTENSIONS_LENGTH = 64
_MIXED = b"0123456789zqjxkmvwgpfZQJXKMVWGPF"


class InvalidKey(ValueError):
    """These bytes are not a key, or not the file name of one."""


class Key:
    """A git-annex key. Immutable, hashable, and ordered by its bytes.

    Two keys are equal if their serialized forms are equal. `bytes(key)` and `key.raw` are that form, byte for
    byte as git-annex writes it. `str(key)` is the same, decoded as UTF-8 with surrogateescape.
    """

    __slots__ = ("_md5", "_raw", "_size")

    _raw: bytes
    _size: int | None  # parsed once: every check for the content compares it
    _md5: bytes | None  # of the key without chunk fields; computed once for both kinds of directories

    def __init__(self, raw: bytes | str) -> None:
        """See `parse`."""
        if isinstance(raw, str):
            try:
                raw = raw.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as e:
                raise InvalidKey(f"not a key: {raw[:100]!r} has a surrogate that stands for no byte") from e
        head, _, name = raw.partition(b"--")
        backend, *fields = head.split(b"-")
        if not backend or not name:
            raise InvalidKey(f"not a key: {raw[:100]!r} is not of the form BACKEND-FIELDS--NAME")
        if b"\n" in raw or b"\0" in raw:
            raise InvalidKey(f"not a key: {raw[:100]!r} contains LF or NUL")
        if backend[-1] == 0x45 and backend != b"GITBUNDLE":  # "E": the name ends in extensions
            dot = name.find(b".")
            if dot >= 0 and len(name) - dot > _MAX_EXTENSIONS_LENGTH:
                raise InvalidKey(f"not a key: {raw[:100]!r} has more than 64 bytes of extensions")
        position = 0
        unusual = False
        for field in fields:
            position = _FIELDS.find(field[:1], position) + 1
            digits = field[1:]
            if not position or not digits.isdigit():
                raise InvalidKey(f"not a key: {raw[:100]!r} has fields that are malformed or out of order")
            if digits[0] == 0x30 or len(digits) > 18:
                unusual = True
        if unusual:
            fields = [*map(_canonical, fields)]
            raw = b"-".join([backend, *fields]) + b"--" + name
        self._raw = raw
        self._size = int(fields[0][1:]) if fields and fields[0][0] == 0x73 else None  # "s" comes first
        self._md5 = None

    @classmethod
    def parse(cls, raw: bytes | str) -> Key:
        """The key with this serialized form; str is encoded as UTF-8 with surrogateescape.

        Leading zeros of numbers are dropped, as git-annex does: `A-s03--x` is the key `A-s3--x`.
        Raises InvalidKey if the form is not that of a key.
        """
        return cls(raw)

    @classmethod
    def make(
        cls,
        backend: str,
        name: bytes | str,
        *,
        size: int | None = None,
        mtime: int | None = None,
        chunk_size: int | None = None,
        chunk_number: int | None = None,
    ) -> Key:
        """The key with these parts. Sizes are in bytes, mtime in seconds since 1970; chunks are numbered from 1.

        Raises InvalidKey if parsing the key would not give these parts again.
        """
        if "-" in backend:
            raise InvalidKey(f"not a backend: {backend[:100]!r} contains a hyphen")
        numbers = zip("smSC", (size, mtime, chunk_size, chunk_number), strict=True)
        head = backend + "".join([f"-{letter}{n:d}" for letter, n in numbers if n is not None])
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return cls(f"{head}--{name}")

    @classmethod
    def from_file_name(cls, name: bytes) -> Key:
        """The key whose `file_name` is `name`. Raises InvalidKey if there is none.

        git-annex also accepts other file names for a key, for example `A--&x` for `A--x`. Here a key has one
        file name, so that two files in a directory never have the same key.
        """
        raw = name.replace(b"%", b"/").replace(b"&c", b":").replace(b"&s", b"%").replace(b"&a", b"&")
        key = cls(raw)
        if key.file_name != name:
            raise InvalidKey(f"not the file name of a key: {name[:100]!r}")
        return key

    @property
    def raw(self) -> bytes:
        """The serialized form."""
        return self._raw

    @property
    def backend(self) -> str:
        """The backend, such as `SHA256E`. It may be one that neither p2pannex nor git-annex knows."""
        return self._raw[: self._raw.index(b"-")].decode("utf-8", "surrogateescape")

    @property
    def name(self) -> bytes:
        """The name that the backend gave the content: a digest, a digest with extensions, a path, a URL."""
        return self._raw.partition(b"--")[2]

    @property
    def size(self) -> int | None:
        """The size of the content that a repository stores for this key, in bytes; None if the key has no size.

        That is also true of the key of a chunk: as in git-annex, a repository that is sent such a key expects the whole
        content, with the digest in the key's name. Only special remotes store chunks.
        """
        return self._size

    @property
    def mtime(self) -> int | None:
        """The modification time, in seconds since 1970. Only WORM keys have one."""
        return self._number(b"m")

    @property
    def chunk_size(self) -> int | None:
        """If this is the key of a chunk: the size of every chunk but the last, in bytes."""
        return self._number(b"S")

    @property
    def chunk_number(self) -> int | None:
        """If this is the key of a chunk: its number, from 1."""
        return self._number(b"C")

    @property
    def file_name(self) -> bytes:
        """The name of the content's file. It has no slash, and may be too long for a file system."""
        raw = self._raw
        if b"&" in raw or b"%" in raw or b":" in raw or b"/" in raw:
            return raw.replace(b"&", b"&a").replace(b"%", b"&s").replace(b":", b"&c").replace(b"/", b"%")
        return raw

    @property
    def hashdir_lower(self) -> bytes:
        """The directories used by bare repositories, special remotes and the git-annex branch: `f87/4d5`.

        A chunk has the same directories as the whole content.
        """
        digits = self._directory_md5()[:3].hex().encode()
        return digits[:3] + b"/" + digits[3:]

    @property
    def hashdir_mixed(self) -> bytes:
        """The directories used by repositories that have a work tree: `pX/ZJ`."""
        word = int.from_bytes(self._directory_md5()[:4], "little")
        a, b, c, d = (_MIXED[word >> shift & 31] for shift in (6, 0, 18, 12))
        return bytes((a, b, 0x2F, c, d))

    @property
    def cryptographically_secure(self) -> bool:
        """Whether git-annex accepts the key if annex.securehashesonly is set. It depends on the backend.

        VURL counts as secure, although the key alone verifies nothing (`Verifier.conclusive` is False): git-annex
        keeps the hash of such content on its branch. External backends (X...) count as insecure, because only their
        program could tell.
        """
        return self.backend in SECURE_BACKENDS

    def without_chunk(self) -> Key:
        """The key of the whole content if this is the key of a chunk, otherwise this key."""
        head, _, name = self._raw.partition(b"--")
        if b"-S" not in head and b"-C" not in head:
            return self
        whole = [field for i, field in enumerate(head.split(b"-")) if i == 0 or field[0] not in b"SC"]
        return Key(b"-".join(whole) + b"--" + name)

    def verifier(self) -> Verifier:
        """A new Verifier for the content. See `size` for the key of a chunk."""
        return Verifier(self.backend, self.name, self._size)

    @property
    def missing_hash(self) -> str | None:
        """Why the digest in the key's name cannot be computed here, and what to do about it.

        None if it can be computed, or if the key has no digest. Content of other keys must not be stored or vouched
        for here: only its size could be compared.
        """
        return missing_hash(self.backend)

    def _number(self, letter: bytes) -> int | None:
        head = self._raw.partition(b"--")[0]
        start = head.find(b"-" + letter) + 2
        if start < 2:
            return None
        end = head.find(b"-", start)
        return int(head[start:end] if end >= 0 else head[start:])

    def _directory_md5(self) -> bytes:
        digest = self._md5
        if digest is None:
            raw = self._raw
            if b"-S" in raw or b"-C" in raw:  # perhaps a chunk
                raw = self.without_chunk().raw
            digest = self._md5 = hashlib.md5(raw, usedforsecurity=False).digest()
        return digest

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        return self._raw.decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return f"Key({self._raw!r})"

    def __hash__(self) -> int:
        return hash(self._raw)

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, Key) else NotImplemented

    def __lt__(self, other: Key) -> bool:
        return self._raw < other._raw if isinstance(other, Key) else NotImplemented

    def __le__(self, other: Key) -> bool:
        return self._raw <= other._raw if isinstance(other, Key) else NotImplemented

    def __reduce__(self) -> tuple[type[Key], tuple[bytes]]:
        return Key, (self._raw,)


def _canonical(field: bytes) -> bytes:
    """The field without leading zeros. Raises InvalidKey if its number is too large."""
    digits = field[1:].lstrip(b"0") or b"0"
    if len(digits) > _MAX_DIGITS or (field[:1] == b"m" and int(digits) > _MAX_MTIME):
        raise InvalidKey(f"not a key: the number in its field {field[:100]!r} is too large")
    return field[:1] + digits
