"""Verification: whether some bytes are the content of a key.

A `Verifier` receives content in blocks of any size and reports at any time whether the bytes so far are the whole
content. It compares the digest in the key's name, if it can compute it, and the size:

    backend (E: may be followed by E)                digest in the key's name
    MD5 SHA1 SHA2 SHA3_* BLAKE2B* BLAKE2S*       E   the name up to the first dot
    BLAKE2BP512 BLAKE2SP256                      E   the same; the digest is the root of a tree
    BLAKE3_256 XXH3                              E   the same; needs the package blake3 or xxhash
    SKEIN* BLAKE2SP224                           E   the same, but p2pannex has no code that computes it
    GITBUNDLE                                        a SHA256 after the last hyphen
    WORM URL VURL GITMANIFEST X* and unknown ones    none: only the size is compared

Without the package, or the code, `missing_hash` says why: such content must not be stored or vouched for, because only
its size could be compared.

Digests are in lower case; XXH3's have 64 bits. As in git-annex, one backslash before a digest is skipped. The name
is cut at the first dot for backends without E, too.

hashlib is imported at first use: the import takes some milliseconds, and not every conversation needs it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing would import re
if TYPE_CHECKING:
    import hashlib
    from typing import Protocol, TypeAlias

    Blake2: TypeAlias = hashlib.blake2b | hashlib.blake2s
    Block: TypeAlias = bytes | bytearray | memoryview

    class Digest(Protocol):
        """A hash that is being computed. hexdigest may be called at any time and more than once."""

        def update(self, data: Block, /) -> object: ...
        def hexdigest(self) -> str: ...


_SHA = ("SHA256", "SHA512", "SHA224", "SHA384", "SHA3_256", "SHA3_512", "SHA3_224", "SHA3_384")
_BY_NAME = (*_SHA, "SHA1", "MD5")
_BLAKE2 = {
    **{f"BLAKE2B{bits}": ("blake2b", bits // 8) for bits in (256, 512, 160, 224, 384)},
    **{f"BLAKE2S{bits}": ("blake2s", bits // 8) for bits in (256, 160, 224)},
}
# Function, bytes of the digest, leaves, bytes of the block that each leaf gets in turn. BLAKE2SP224 is missing:
# its leaves return 32 bytes although their parameters state a digest of 28, and hashlib has one setting for both.
_BLAKE2_TREES = {"BLAKE2BP512": ("blake2b", 64, 4, 128), "BLAKE2SP256": ("blake2s", 32, 8, 64)}
_BY_PACKAGE = {"BLAKE3_256": "blake3", "XXH3": "xxhash"}

_HASHES = (*_BY_NAME, *_BLAKE2, *_BLAKE2_TREES, *_BY_PACKAGE)
_UNCOMPUTED = ("SKEIN256", "SKEIN512", "BLAKE2SP224")
_SECURE = {*_HASHES, *_UNCOMPUTED} - {"SHA1", "MD5", "XXH3"}

SECURE_BACKENDS = frozenset([*_SECURE, *(name + "E" for name in _SECURE), "GITBUNDLE", "VURL"])
"""The backends that git-annex accepts if annex.securehashesonly is set."""


class Verifier:
    """Checks whether the bytes passed to `update`, in blocks of any size, are a key's content.

    conclusive: whether a digest is compared. If it is False, `valid` compares only the size; if the size
        is not known either, all bytes are valid. Check `missing_hash` before you rely on that.
    received: how many bytes were passed so far.
    size: the size of the content in bytes, or None if the key has no size.

    Calls may come from different threads, but only one at a time.
    """

    __slots__ = ("_digest", "_expected", "received", "size")

    _digest: Digest | None
    _expected: bytes
    received: int
    size: int | None

    def __init__(self, backend: str, name: bytes, size: int | None) -> None:
        """From the parts of a key. Use `Key.verifier` instead."""
        self.received = 0
        self.size = size
        if backend == "GITBUNDLE":
            backend = "SHA256"
            self._expected = name.rpartition(b"-")[2]
        else:
            self._expected = name.partition(b".")[0].removeprefix(b"\\")
        self._digest = new_digest(backend)

    @property
    def conclusive(self) -> bool:
        return self._digest is not None

    def update(self, view: Block) -> None:
        """Hash the next bytes of the content. The view may be reused after the call."""
        self.received += len(view)
        if self._digest is not None:
            self._digest.update(view)

    def valid(self) -> bool:
        """Whether the bytes so far are the whole content. May be called repeatedly, also before more bytes."""
        if self.size is not None and self.received != self.size:
            return False
        return self._digest is None or self._digest.hexdigest().encode() == self._expected


def missing_hash(backend: str) -> str | None:
    """Why the digest in a key of this backend cannot be computed here, and what to do about it.

    None if it can be computed, and also if keys of this backend contain no digest (WORM, URL, X*, unknown backends).
    """
    base = without_extension(backend)
    if base in _UNCOMPUTED:
        return f"p2pannex cannot compute {base}, so it cannot verify this content; git annex migrate gives it a new key"
    return missing_package(backend)


def missing_package(backend: str) -> str | None:
    """What to install if only a package is missing to compute the digest in a key of this backend; otherwise None."""
    base = without_extension(backend)
    if base in _BY_PACKAGE and _from_package(base) is None:
        return f"the hash of {backend} keys cannot be computed here; install it with: pip install {_BY_PACKAGE[base]}"
    return None


def hash_backend_names() -> tuple[str, ...]:
    """The backends whose digest can be computed here, each one without and with E."""
    bases = [name for name in _HASHES if name not in _BY_PACKAGE or new_digest(name) is not None]
    return tuple([name + suffix for name in bases for suffix in ("", "E")])


def without_extension(backend: str) -> str:
    """The backend without a final E if it is a hash: SHA256 for SHA256E. Other backends are returned unchanged."""
    base = backend.removesuffix("E")
    return base if base in _HASHES or base in _UNCOMPUTED else backend


def new_digest(backend: str) -> Digest | None:
    """A new hash of the kind that the backend uses, or None if it cannot be computed here."""
    base = without_extension(backend)
    if base in _BY_PACKAGE:
        return _from_package(base)
    import hashlib

    if base in _BY_NAME:
        digest: Digest = getattr(hashlib, base.lower())(usedforsecurity=False)
        return digest
    if base in _BLAKE2:
        function, length = _BLAKE2[base]
        blake2: Digest = getattr(hashlib, function)(digest_size=length)
        return blake2
    if base in _BLAKE2_TREES:
        return _Blake2Tree(*_BLAKE2_TREES[base])
    return None


def _from_package(base: str) -> Digest | None:
    try:
        if base == "BLAKE3_256":
            import blake3

            return blake3.blake3()
        import xxhash

        return xxhash.xxh3_64()
    except ImportError:
        return None


class _Blake2Tree:
    """BLAKE2bp or BLAKE2sp: the leaves hash blocks in turn, and the root hashes the digests of the leaves."""

    __slots__ = ("_block", "_leaves", "_node", "_rest", "_stripe")

    def __init__(self, function: str, length: int, leaves: int, block: int) -> None:
        import hashlib

        def node(*, offset: int, depth: int, last: bool) -> Blake2:
            make: type[Blake2] = getattr(hashlib, function)
            return make(
                digest_size=length,
                fanout=leaves,
                depth=2,
                node_offset=offset,
                node_depth=depth,
                inner_size=length,
                last_node=last,
            )

        self._node = node
        self._leaves = [node(offset=i, depth=0, last=i == leaves - 1) for i in range(leaves)]
        self._block = block
        self._stripe = block * leaves
        self._rest = bytearray()  # less than a stripe, which is one block for each leaf

    def update(self, data: Block, /) -> None:
        with memoryview(data) as view:
            start = 0
            if self._rest:
                start = min(self._stripe - len(self._rest), len(view))
                self._rest += view[:start]
                if len(self._rest) < self._stripe:
                    return
                self._hash(self._leaves, self._rest)
                self._rest.clear()
            end = len(view) - (len(view) - start) % self._stripe
            if start < end:
                self._hash(self._leaves, view[start:end])
            self._rest += view[end:]

    def _hash(self, leaves: list[Blake2], data: Block) -> None:
        block, stripe = self._block, self._stripe
        for i, leaf in enumerate(leaves):
            leaf.update(b"".join([data[j : j + block] for j in range(i * block, len(data), stripe)]))

    def hexdigest(self) -> str:
        leaves = [leaf.copy() for leaf in self._leaves]
        self._hash(leaves, self._rest)
        root = self._node(offset=0, depth=1, last=True)
        for leaf in leaves:
            root.update(leaf.digest())
        return root.hexdigest()
