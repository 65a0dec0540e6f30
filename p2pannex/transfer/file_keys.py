"""The key of a file, as git-annex makes it from the file's content and name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from p2pannex.keys.key import Key
from p2pannex.keys.verify import hash_backend_names, new_digest, without_extension


def key_for_file(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    backend: str = "SHA256E",
    progress: Callable[[int], object] | None = None,
) -> Key:
    """The key that `git annex calckey --backend=BACKEND PATH` gives a file (annex.maxextensionlength unset).

    The backend is WORM or one of `hash_backend_names()`; another is a ValueError. progress is called with
    the bytes read so far, after each block of a mebibyte; WORM reads nothing. A WORM key contains the path
    from the current directory, which therefore should be the top of the repository, as it contains that.
    Raises OSError as open and read do, and InvalidKey for a WORM key of a time before 1970.
    """
    encoded = os.fsencode(path)
    digest = None if backend == "WORM" else new_digest(backend)
    if digest is None and backend != "WORM":
        supported = ", ".join([*hash_backend_names(), "WORM"])
        raise ValueError(f"cannot make a {backend} key from a file; supported backends: {supported}")
    with open(encoded, "rb", buffering=0) as file:
        if digest is None:
            status = os.fstat(file.fileno())
            name = _worm_name(os.path.relpath(encoded))
            return Key.make(backend, name, size=status.st_size, mtime=status.st_mtime_ns // 10**9)
        block = memoryview(bytearray(1 << 20))
        size = 0
        while count := file.readinto(block):
            digest.update(block[:count])
            size += count
            if progress is not None:
                progress(size)
    name = digest.hexdigest().encode()
    if without_extension(backend) != backend:
        name += _extensions(os.path.basename(encoded))
    return Key.make(backend, name, size=size)


_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


_EXTENSION_BYTES = _ALPHANUMERIC + bytes(range(0x80, 0x100))


_WORM_ESCAPES = {",": ",,", **{c: c for c in (_ALPHANUMERIC + b"%-./:_").decode()}}


def _extensions(file_name: bytes) -> bytes:
    """What an ...E key keeps of a file's name: of `song.live.mp3`, `.live.mp3`.

    From the end of the name: pieces of at most 4 bytes, as far as they go; of these, pieces of letters,
    digits and non-ASCII; of these at most two. An empty piece, as in `a..b`, counts but is not kept.
    """
    kept: list[bytes] = []
    for piece in reversed(file_name.lstrip(b".").split(b".")[1:]):
        if len(piece) > 4 or len(kept) == 2:
            break
        if not piece.translate(None, _EXTENSION_BYTES):
            kept.append(piece)
    return b"".join([b"." + piece for piece in reversed(kept) if piece])


def _worm_name(path: bytes) -> bytes:
    """A path with `,` and a code point for unusual characters; of a long one, the start and its md5."""
    text = path.decode("utf-8", "surrogateescape")
    name = "".join([_WORM_ESCAPES.get(c) or f",{ord(c)}" for c in text]).encode()
    if len(path) <= 64:
        return name
    return name[:31] + b"-" + hashlib.md5(path, usedforsecurity=False).hexdigest().encode()
