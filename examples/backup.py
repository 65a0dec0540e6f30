"""A backup tool: it sends to a server what a directory store has, and with --delete it then deletes it here.

It deletes content only while the content is locked on the server. So no failure, and no other client of the server, can
make it delete the last copy. After a failure, run it again: what was sent is not sent again.

    python examples/backup.py photos ssh://host/srv/annex --delete

The exit status is 0 if everything was sent (and deleted), 1 if something was not, 2 if the command line is wrong.
"""

import argparse
import sys

import trio

from p2pannex import ConnectionLost, DirectoryStore, RemoteError, copy, open_url, remove_while_locked


async def main(directory: str, url: str, *, delete: bool) -> int:
    """ConnectionLost if the server cannot be reached; what was done until then is done."""
    failed = 0
    async with DirectoryStore(directory) as store, await open_url(url) as server:
        for key in await trio.to_thread.run_sync(lambda: sorted(store.keys())):
            try:
                await copy(store, server, key)  # raises RemoteError if the server does not have it now
                if delete:
                    # The server has the content now, and must still have it when it is deleted here. So this locks it
                    # there first. If that fails, or the server is this same store, it raises RemoteError.
                    removal = await remove_while_locked(key, target=store, holder=server)
                    if not removal.ok:
                        raise RemoteError("sent and not deleted: it is locked here, or the server took too long")
                print("sent and deleted" if delete else "sent", key)
            except RemoteError as error:  # the next key can still succeed
                failed = 1
                print(f"backup.py: {key}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send the content of a directory store to a server.")
    parser.add_argument("directory", help="a directory store, as p2pannex init makes it")
    parser.add_argument("url", help="the server, for example ssh://host/srv/annex")
    parser.add_argument("--delete", action="store_true", help="delete here what the server has and has locked")
    given = parser.parse_args()
    try:
        sys.exit(trio.run(lambda: main(given.directory, given.url, delete=given.delete)))
    except (RemoteError, ConnectionLost) as error:
        sys.exit(f"backup.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
