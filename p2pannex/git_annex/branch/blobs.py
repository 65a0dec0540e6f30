"""Reads many blobs with few runs of git, and none that is larger than allowed. For threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from p2pannex.errors import RemoteError

BATCH_BYTES = 16 << 20
"""Bytes of the blobs that one run of ``git cat-file`` reads."""

BATCH_BLOBS = 5000
"""Blobs that one run reads."""

Run = Callable[..., bytes]
"""`Git.run`, or a function like it."""


def read_blobs(run: Run, names: Sequence[bytes], limit: int) -> Iterator[bytes | None]:
    """The content of each blob; None if it has more than `limit` bytes. RemoteError if one is missing.

    Git looks at the sizes first, because a blob of gigabytes takes kilobytes in a pack.
    """
    for start in range(0, len(names), BATCH_BLOBS):
        some = names[start : start + BATCH_BLOBS]
        listed = run("cat-file", "--batch-check=%(objectsize)", input=lines(some)).split(b"\n")
        sizes = [_size(name, line) for name, line in zip(some, listed, strict=False)]
        batch: list[bytes] = []
        total = 0
        texts: list[bytes | None] = []
        for name, size in zip(some, sizes, strict=True):
            if size > limit:
                texts.append(None)
                continue
            if total + size > BATCH_BYTES and batch:
                yield from _in_order(texts, _contents(run, batch))
                batch, total, texts = [], 0, []
            batch.append(name)
            total += size
            texts.append(b"")
        yield from _in_order(texts, _contents(run, batch))


def _size(name: bytes, line: bytes) -> int:
    if not line.isdigit():
        raise RemoteError(f"the git-annex branch is damaged: {name.decode('ascii', 'replace')} is missing")
    return int(line)


def _contents(run: Run, names: Sequence[bytes]) -> Iterator[bytes]:
    if not names:
        return
    output = run("cat-file", "--batch", input=lines(names))
    position = 0
    for name in names:
        end = output.index(b"\n", position)
        size = _size(name, output[position:end].rpartition(b" ")[2])
        yield output[end + 1 : end + 1 + size]
        position = end + 1 + size + 1


def _in_order(texts: Sequence[bytes | None], contents: Iterator[bytes]) -> Iterator[bytes | None]:
    for text in texts:
        yield None if text is None else next(contents)


def lines(names: Sequence[bytes]) -> bytes:
    """Names as git reads them from standard input."""
    return b"".join([name + b"\n" for name in names])
