"""Which bytes are the content of a key: what git-annex's backends hash, and how.

A `Verifier` is fed a content in blocks of any size and says at any time whether what it got so far is the
content. It knows a backend's name, a key's name and a size, and no more of keys.

    backend, and whether an E may follow it          digest in the key's name
    MD5 SHA1 SHA2 SHA3_* BLAKE2B* BLAKE2S*       E   all of it, up to the first dot
    BLAKE2BP512 BLAKE2SP256                      E   so too; it is the root of a tree
    BLAKE3_256 XXH3                              E   so too, where the package blake3 or xxhash is installed
    SKEIN* BLAKE2SP224                           E   so too, but nothing here computes it: the size only
    GITBUNDLE                                        a SHA256, after the last hyphen
    WORM URL VURL GITMANIFEST X* and unknown ones    none: the size only

Digests are in lower case, XXH3's are of 64 bits. One backslash before a digest is skipped, as git-annex
does. A dot and what follows are also skipped for a backend without E.

hashlib is imported at first use: it costs some milliseconds, and not every conversation needs it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing would import re
if TYPE_CHECKING:
    import hashlib
    from typing import Protocol, TypeAlias

    Blake2: TypeAlias = hashlib.blake2b | hashlib.blake2s
    Block: TypeAlias = bytes | bytearray | memoryview

    class Digest(Protocol):
        """A hash being computed; hexdigest may be asked for at any time and more than once."""

        def update(self, data: Block, /) -> object: ...
        def hexdigest(self) -> str: ...


_SHA = ("SHA256", "SHA512", "SHA224", "SHA384", "SHA3_256", "SHA3_512", "SHA3_224", "SHA3_384")
_BY_NAME = (*_SHA, "SHA1", "MD5")
_BLAKE2 = {
    **{f"BLAKE2B{bits}": ("blake2b", bits // 8) for bits in (256, 512, 160, 224, 384)},
    **{f"BLAKE2S{bits}": ("blake2s", bits // 8) for bits in (256, 160, 224)},
}
# Function, bytes of digest, leaves, bytes of the block that each leaf gets in turn. BLAKE2SP224 is not
# here: its leaves give 32 bytes under the parameters of a digest of 28, and hashlib has one setting for both.
_BLAKE2_TREES = {"BLAKE2BP512": ("blake2b", 64, 4, 128), "BLAKE2SP256": ("blake2s", 32, 8, 64)}
_BY_PACKAGE = {"BLAKE3_256": "blake3", "XXH3": "xxhash"}

_HASHES = (*_BY_NAME, *_BLAKE2, *_BLAKE2_TREES, *_BY_PACKAGE)
_UNCOMPUTED = ("SKEIN256", "SKEIN512", "BLAKE2SP224")
_SECURE = {*_HASHES, *_UNCOMPUTED} - {"SHA1", "MD5", "XXH3"}

SECURE_BACKENDS = frozenset([*_SECURE, *(name + "E" for name in _SECURE), "GITBUNDLE", "VURL"])
"""The backends that git-annex takes where annex.securehashesonly is set."""


class Verifier:
    """Says whether the bytes it is fed, in any division, are a key's content.

    conclusive: whether a digest is compared. Where it is False, `valid` speaks of the size alone,
        and where the size is not known either, everything is valid.
    missing_package: the package on PyPI without which the digest could not be computed, or None;
        installing `p2pannex[hashes]` brings all of them.
    received: bytes fed so far.
    size: bytes that the content has, or None where the key does not say.

    A chunk of a content has no digest of its own, so a chunk key is never conclusive.
    Not for use by several threads at a time, but each call may be made in another one.
    """

    __slots__ = ("_digest", "_expected", "missing_package", "received", "size")

    _digest: Digest | None
    _expected: bytes
    missing_package: str | None
    received: int
    size: int | None

    def __init__(self, backend: str, name: bytes, size: int | None, *, chunk: bool = False) -> None:
        """From the parts of a key. Users call `Key.verifier`."""
        self.received = 0
        self.size = size
        self.missing_package = None
        if backend == "GITBUNDLE":
            backend = "SHA256"
            self._expected = name.rpartition(b"-")[2]
        else:
            self._expected = name.partition(b".")[0].removeprefix(b"\\")
        self._digest = None if chunk else new_digest(backend)
        if self._digest is None and not chunk:
            self.missing_package = _BY_PACKAGE.get(without_extension(backend))

    @property
    def conclusive(self) -> bool:
        return self._digest is not None

    def update(self, view: Block) -> None:
        """Take the next bytes of the content. The view may be reused after the call."""
        self.received += len(view)
        if self._digest is not None:
            self._digest.update(view)

    def valid(self) -> bool:
        """Whether what was fed so far is the whole content. It may be asked again, and after more bytes."""
        if self.size is not None and self.received != self.size:
            return False
        return self._digest is None or self._digest.hexdigest().encode() == self._expected


def hash_backend_names() -> tuple[str, ...]:
    """The backends whose digest can be computed here, each without and with E."""
    bases = [name for name in _HASHES if name not in _BY_PACKAGE or new_digest(name) is not None]
    return tuple([name + suffix for name in bases for suffix in ("", "E")])


def without_extension(backend: str) -> str:
    """SHA256 for SHA256E, and so for every hash; any other backend as it is."""
    base = backend.removesuffix("E")
    return base if base in _HASHES or base in _UNCOMPUTED else backend


def new_digest(backend: str) -> Digest | None:
    """The hash that the backend names content with, fed nothing yet; None where it cannot be computed."""
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
    """BLAKE2bp or BLAKE2sp: blocks go to the leaves in turn, and the root hashes the leaves' digests."""

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
        self._rest = bytearray()  # always less than a stripe, which is a block for each leaf

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
