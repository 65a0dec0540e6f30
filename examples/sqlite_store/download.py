"""A download. It reads one block at a time, so it needs little memory for content of any size."""

import sqlite3

import trio
from database import run

from p2pannex import Download, Key

CONTENT = """
SELECT id, (SELECT coalesce(sum(length(bytes)), 0) FROM piece WHERE content = content.id)
FROM content WHERE key = ? AND complete
"""
BLOCK = """
SELECT substr(bytes, ?1 - start + 1, ?2) FROM piece
WHERE content = ?3 AND start <= ?1 ORDER BY start DESC LIMIT 1
"""


class SqliteDownload(Download):
    """If the content is not in the store, it has no bytes and is not valid."""

    def __init__(self, db: sqlite3.Connection, key: Key, offset: int) -> None:
        self.db, self.position = db, offset
        ((self.id, size),) = run(db, CONTENT, key.raw) or [(None, 0)]
        self.length = max(0, size - offset)
        self.end = offset + self.length

    async def readinto(self, view: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        rows = run(self.db, BLOCK, self.position, min(len(view), self.end - self.position), self.id)
        block = rows[0][0] if rows else b""  # no row: the content was removed meanwhile
        view[: len(block)] = block
        self.position += len(block)
        return len(block)

    async def valid(self) -> bool:
        return self.id is not None and self.position == self.end

    async def aclose(self) -> None:
        pass
