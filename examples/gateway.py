"""A gateway: it serves three repositories as one, on its standard input and output.

Content is stored on every node that replies. It is fetched from the first node that has it; if that node fails, the
next one goes on at the byte that was reached. A removal succeeds only if every node has removed the content.

A node is `UUID=URL`, the nearest first. The first UUID is the gateway's own: make it once, with `uuidgen`, and keep it.

    p2pannex put "exec:python examples/gateway.py UUID UUID1=/disk/annex UUID2=ssh://a/annex UUID3=ssh://b/annex" FILE

`p2pannex cluster` does the same from a configuration file, and more.
"""

import contextlib
import sys
import uuid

import trio

from p2pannex import Cluster, ConnectionLost, Node, RemoteError, open_url, serve_stdio


async def main(cluster_uuid: uuid.UUID, locations: dict[uuid.UUID, str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        nodes = []
        for cost, (node_uuid, url) in enumerate(locations.items()):
            # Because the UUID is given, a remote node is not connected to before it is needed: it may be down now.
            service = await stack.enter_async_context(await open_url(url, uuid=str(node_uuid)))
            if service.uuid != str(node_uuid):
                raise RemoteError(f"{url} is repository {service.uuid}, not {node_uuid}")
            nodes.append(Node(url, service, cost=cost))
        # A client counts this repository as one copy. If it were told the nodes' UUIDs too, it would count them again.
        cluster = await stack.enter_async_context(Cluster(str(cluster_uuid), nodes, name_nodes=False))
        await serve_stdio(cluster)


if __name__ == "__main__":
    try:
        own, *nodes = sys.argv[1:]
        locations = {uuid.UUID(node_uuid): url for node_uuid, url in (node.split("=", 1) for node in nodes)}
        cluster_uuid, _, _, _ = uuid.UUID(own), *locations
    except ValueError:
        sys.exit("usage: python gateway.py UUID UUID1=URL1 UUID2=URL2 UUID3=URL3")
    try:
        trio.run(main, cluster_uuid, locations)
    except (RemoteError, ConnectionLost) as error:
        sys.exit(f"gateway.py: {error}")
