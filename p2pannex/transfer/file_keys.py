"""The key of a file, as git-annex makes it from the file's content and name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from p2pannex.keys.key import Key
from p2pannex.keys.verify import hash_backend_names, missing_hash, new_digest, without_extension


def key_for_file(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    backend: str = "SHA256E",
    progress: Callable[[int], object] | None = None,
) -> Key:
    """The key that `git annex calckey --backend=BACKEND PATH` computes for a file (annex.maxextensionlength unset).

    The backend is WORM or one of `hash_backend_names()`; ValueError for others. `progress` is called with the
    number of bytes read so far, after each block of 1 MiB; WORM reads nothing. A WORM key contains the path
    relative to the current directory, so that directory should be the top of the repository.
    Raises OSError if the file cannot be read, and InvalidKey for a WORM key with a time before 1970.
    """
    encoded = os.fsencode(path)
    digest = None if backend == "WORM" else new_digest(backend)
    if digest is None and backend != "WORM":
        supported = ", ".join([*hash_backend_names(), "WORM"])
        reason = missing_hash(backend) or f"cannot make a {backend} key from a file"
        raise ValueError(f"{reason}; supported backends: {supported}")
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
    """The extensions of a file's name that an ...E key keeps: `.live.mp3` of `song.live.mp3`.

    The name is split at its dots and read from the end, up to the first piece of more than 4 bytes or until two
    pieces are kept. Pieces with other bytes than letters, digits and non-ASCII are skipped. An empty piece, as
    in `a..b`, counts as one of the two but is not part of the result.
    """
    kept: list[bytes] = []
    for piece in reversed(file_name.lstrip(b".").split(b".")[1:]):
        if len(piece) > 4 or len(kept) == 2:
            break
        if not piece.translate(None, _EXTENSION_BYTES):
            kept.append(piece)
    return b"".join([b"." + piece for piece in reversed(kept) if piece])


def _worm_name(path: bytes) -> bytes:
    """The path, with `,` and the code point for unusual characters. A long path is cut, and its md5 is appended."""
    text = path.decode("utf-8", "surrogateescape")
    name = "".join([_WORM_ESCAPES.get(c) or f",{ord(c)}" for c in text]).encode()
    if len(path) <= 64:
        return name
    return name[:31] + b"-" + hashlib.md5(path, usedforsecurity=False).hexdigest().encode()
