"""A store of your own: a `Service` that keeps content, interrupted uploads and locks in one SQLite file.

The store itself is in `store.py`. This program serves it to one client, on its standard input and output:

    p2pannex put "exec:python examples/sqlite_store photos.db" FILE

Only one process at a time can have the database open. `serve_listeners` serves many clients from one process.
"""

import sqlite3
import sys

import trio
from database import open_database
from store import SqliteStore

from p2pannex import ConnectionLost, RemoteError, Side, StreamPeer, serve
from p2pannex.system.stdio import claim_output
from p2pannex.transports.descriptor import DescriptorStream


async def main(path: str) -> None:
    async with SqliteStore(open_database(path)) as store:
        await serve(StreamPeer(DescriptorStream(0, claim_output(), keep_open=True), Side.SERVER), store)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python sqlite_store DATABASE")
    try:
        trio.run(main, sys.argv[1])
    except (sqlite3.Error, RemoteError, ConnectionLost) as error:
        sys.exit(f"sqlite_store: {sys.argv[1]}: {error}")
