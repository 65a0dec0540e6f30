"""A proxy: it serves another repository on its standard input and output.

URL is any URL that `p2pannex` takes, for example `ssh://host/srv/annex`. The proxy keeps no content. Its clients can
fetch and store, but not remove. It can be the forced command of an ssh key. To try it:

    p2pannex get "exec:python examples/proxy.py ssh://host/srv/annex" KEY
"""

import sys

import trio

from p2pannex import ConnectionLost, Mode, RemoteError, open_url, serve_stdio


async def main(url: str) -> None:
    # Connect first: a client is greeted with the UUID of the repository behind the proxy.
    async with await open_url(url) as remote:
        await serve_stdio(remote, mode=Mode.APPEND_ONLY)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python proxy.py URL")
    try:
        trio.run(main, sys.argv[1])
    except (RemoteError, ConnectionLost) as error:
        sys.exit(f"proxy.py: {error}")
