"""An upload. Each block becomes a row. The content is present once all of it has arrived and was verified."""

import sqlite3

import trio
from database import run

from p2pannex import Key, NotStored, RemoteError, Stored, Upload


class SqliteUpload(Upload):
    """`uploading` holds the key until `aclose`."""

    def __init__(self, db: sqlite3.Connection, key: Key, uploading: set[Key]) -> None:
        self.db, self.key, self.uploading, self.verifier = db, key, uploading, key.verifier()
        run(db, "INSERT OR IGNORE INTO content (key) VALUES (?)", key.raw)
        ((self.id,),) = run(db, "SELECT id FROM content WHERE key = ?", key.raw)
        for (piece,) in run(db, "SELECT bytes FROM piece WHERE content = ? ORDER BY start", self.id):
            self.verifier.update(piece)
        self.offset = self.verifier.received  # an interrupted upload got this far
        uploading.add(key)

    async def begin(self, length: int) -> None:
        size = self.verifier.size
        if size is not None and self.offset + length > size:
            raise RemoteError(f"{self.offset + length} bytes are too many for a key of {size}")

    async def send_all(self, view: memoryview) -> None:
        await trio.lowlevel.checkpoint()  # other tasks take their turn between blocks
        run(self.db, "INSERT INTO piece VALUES (?, ?, ?)", self.id, self.verifier.received, view)
        self.verifier.update(view)

    async def finish(self, valid: bool) -> Stored | NotStored:
        if self.verifier.valid() and (valid or self.verifier.conclusive):
            run(self.db, "UPDATE content SET complete = 1 WHERE id = ?", self.id)
            return Stored()
        size, received = self.verifier.size, self.verifier.received
        if not (valid or self.verifier.conclusive):
            self.drop_from(self.offset)  # the sender sent INVALID, and there is no digest to check
        elif valid if size is None else received >= size:
            self.drop_from(0)  # all of it has arrived, and it is wrong
        return NotStored()

    def drop_from(self, start: int) -> None:
        run(self.db, "DELETE FROM piece WHERE content = ? AND start >= ?", self.id, start)

    async def data_present(self) -> Stored | NotStored:
        return NotStored()  # content reaches this store in no other way

    async def aclose(self) -> None:
        self.uploading.discard(self.key)
