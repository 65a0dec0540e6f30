"""The SQLite database: its tables, its clock, and how a statement is run.

`repository` has one row, `content` one for each key, `piece` one for each block of an upload, `lock` one for each lock
that may still hold. Content that is not `complete` is what an interrupted upload left.
"""

import sqlite3
import time
import uuid
from typing import Any

from p2pannex import RemoteError
from p2pannex.service import RETENTION

SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA synchronous = EXTRA;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS repository (id INTEGER PRIMARY KEY, uuid TEXT);
CREATE TABLE IF NOT EXISTS content (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, complete INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS piece (
    content INTEGER REFERENCES content ON DELETE CASCADE, start INTEGER, bytes BLOB, PRIMARY KEY (content, start));
CREATE TABLE IF NOT EXISTS lock (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB, until REAL);
"""


def now() -> float:
    """Seconds, by a clock that is never set and does not stop while the machine sleeps. It restarts at boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_database(path: str) -> sqlite3.Connection:
    """Open or create it, for this process alone. sqlite3.Error if another process has it open."""
    db = sqlite3.connect(path, isolation_level=None)  # each statement is a transaction
    try:
        db.executescript(SCHEMA)
        db.execute("INSERT OR IGNORE INTO repository VALUES (1, ?)", [str(uuid.uuid4())])
        # Locks that were open when the last process died have no end yet. Their clients are gone, so they last for
        # RETENTION more. The clock may have restarted: no other lock has longer to go either.
        db.execute("UPDATE lock SET until = min(until, ?)", [now() + RETENTION])
    except BaseException:
        db.close()
        raise
    return db


def run(db: sqlite3.Connection, statement: str, *values: object) -> list[Any]:
    """Run one statement, and return its rows. What it changed is on disk then."""
    try:
        return db.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise RemoteError(f"the database failed: {error}") from error
