"""A lock: a row in the database. It is on disk before the client gets SUCCESS."""

import math
import sqlite3

from database import now, run

from p2pannex import Key, Lock
from p2pannex.service import RETENTION


class SqliteLock(Lock):
    """While it is open it does not expire. If its holder is lost, it expires RETENTION seconds after it was taken."""

    def __init__(self, db: sqlite3.Connection, key: Key) -> None:
        self.db, self.expiry = db, now() + RETENTION
        ((self.id,),) = run(db, "INSERT INTO lock (key, until) VALUES (?, ?) RETURNING id", key.raw, math.inf)

    async def release(self) -> None:
        run(self.db, "DELETE FROM lock WHERE id = ?", self.id)

    async def aclose(self) -> None:
        run(self.db, "UPDATE lock SET until = ? WHERE id = ?", self.expiry, self.id)
