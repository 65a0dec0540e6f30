"""A git-annex repository that is a gateway: to clusters, and to remotes of its own that it proxies for.

The repository is configured with ``git annex initcluster``, ``updatecluster``, ``extendcluster`` and ``updateproxy``.
git-annex can use it at the same time. The modules:

    rules        which repositories are served, and the routes to them   (no input or output)
    reading      reads the rules for a program that has to reply fast    (without trio)
    nodes        opens a route as a Service
    special      opens special remotes
    state        the files of the configuration, and whether they changed
    wanted       which nodes content is stored on
    locations    the location log of the nodes
    cluster      `RepositoryCluster`, a cluster that the repository is a gateway of
    proxied      `ProxiedRemote`, one repository behind the gateway
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from p2pannex.gateways.repository.reading import Served
    from p2pannex.service import Service
    from p2pannex.system.disk_work import DiskWork


def open_served(path: str | bytes | os.PathLike[str], uuid: str, *, disk_work: DiskWork | None = None) -> Service:
    """Open what the gateway repository in `path` serves as `uuid`: a cluster, or a repository behind the gateway.

    Use it in ``async with``. RemoteError if the gateway does not serve `uuid`. `disk_work` says how its stores and its
    location log wait for the disk; `InThreads` if None.
    """
    from p2pannex.errors import RemoteError
    from p2pannex.gateways.repository.reading import read_served
    from p2pannex.gateways.repository.rules import NotServed
    from p2pannex.git_annex.config import NotAnAnnex, read_annex_config

    try:
        served = read_served(read_annex_config(os.path.abspath(os.fsencode(path))), uuid)
    except (NotAnAnnex, NotServed) as error:
        raise RemoteError(str(error)) from None
    return service_of(served, disk_work=disk_work)


def service_of(served: Served, *, disk_work: DiskWork | None = None) -> Service:
    """As `open_served`, if `read_served` was called already."""
    from p2pannex.gateways.repository.cluster import RepositoryCluster
    from p2pannex.gateways.repository.proxied import ProxiedRemote

    if served.route is None:
        return RepositoryCluster(served.config, served.uuid, client=served.client, disk_work=disk_work)
    return ProxiedRemote(served.config, served.route, disk_work=disk_work)


__all__ = ["open_served", "service_of"]
