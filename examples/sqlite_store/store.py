"""The store: the six methods of a `Service`. None of them waits, so no other task runs in the middle of one."""

import sqlite3

from database import now, run
from download import SqliteDownload
from lock import SqliteLock
from upload import SqliteUpload

from p2pannex import AlreadyHave, Download, Key, Lock, NotLocked, RemoteError, Removal, Service, Upload


class SqliteStore(Service):
    """Owns `db`, which `open_database` opened."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.uuid = run(db, "SELECT uuid FROM repository")[0][0]
        self.uploading: set[Key] = set()

    async def check_present(self, key: Key) -> bool:
        return bool(run(self.db, "SELECT 1 FROM content WHERE key = ? AND complete", key.raw))

    async def lock(self, key: Key) -> Lock:
        if not await self.check_present(key):
            raise NotLocked(f"{key} is not present")
        return SqliteLock(self.db, key)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        if not await self.check_present(key):
            return Removal(True)
        run(self.db, "DELETE FROM lock WHERE until <= ?", now())
        if run(self.db, "SELECT 1 FROM lock WHERE key = ?", key.raw):
            return Removal(False)
        if before is not None and await self.timestamp() >= before:
            return Removal(False)
        run(self.db, "DELETE FROM content WHERE key = ?", key.raw)
        return Removal(True)

    async def timestamp(self) -> int:
        return int(now())

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        if await self.check_present(key):
            return AlreadyHave()
        if key in self.uploading:
            raise RemoteError("another client is uploading this key; try again later")
        return SqliteUpload(self.db, key, self.uploading)

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        return SqliteDownload(self.db, key, offset)

    async def aclose(self) -> None:
        self.db.close()
