"""Reading the rules of a gateway repository before anything else is known: for p2pannex-shell's first answer.

A client waits for it, so trio is not loaded for it.
"""

from __future__ import annotations

from p2pannex.branch.cat_file import CatFile
from p2pannex.branch.cluster_log import parse_cluster_log
from p2pannex.branch.git import Git
from p2pannex.branch.journal import Journal
from p2pannex.branch.names import CLUSTER_LOG, PROXY_LOG
from p2pannex.branch.proxy_log import parse_proxy_log
from p2pannex.gateway_repository.rules import Rules, Way
from p2pannex.stores.annex_config import AnnexConfig


class Served:
    """What `client` asked for and may have: the cluster `uuid`, or the repository that `way` leads to."""

    def __init__(self, config: AnnexConfig, uuid: str, way: Way | None, client: str | None) -> None:
        self.config = config
        self.uuid = uuid
        self.way = way
        self.client = client


def read_served(config: AnnexConfig, uuid: str, client: str | None = None) -> Served:
    """Whether `client` may have `uuid`, which is not the repository's own. NotServed; RemoteError."""
    rules = read_rules(config, client)
    return Served(config, uuid, None if rules.is_cluster(uuid) else rules.node(uuid), client)


def read_rules(config: AnnexConfig, client: str | None = None) -> Rules:
    """The rules of the repository for that client. RemoteError where its branch cannot be read."""
    journal = Journal(config.git_dir)
    cat_file = CatFile(Git(config.git_dir))
    try:
        proxies, clusters = (
            cat_file.read(log) if (text := journal.read(log)) is None else text for log in (PROXY_LOG, CLUSTER_LOG)
        )
    finally:
        cat_file.close()
    return Rules(config.uuid, config.values, parse_proxy_log(proxies), parse_cluster_log(clusters), client)
