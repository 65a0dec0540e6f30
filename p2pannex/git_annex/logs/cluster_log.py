"""Which repositories are the nodes of which cluster: cluster.log, the uuids of nodes separated by spaces."""

from __future__ import annotations

from p2pannex.git_annex.logs.timed_log import parse_timed_log


def parse_cluster_log(text: bytes) -> dict[str, tuple[str, ...]]:
    """The nodes of each cluster, in the log's order, by the cluster's uuid. Any bytes are a log."""
    return {uuid: tuple(dict.fromkeys(value.split())) for uuid, value in parse_timed_log(text).items()}
