"""cluster.log: the nodes of each cluster. The value is the uuids of the nodes, separated by spaces."""

from __future__ import annotations

from p2pannex.git_annex.logs.timed_log import parse_timed_log


def parse_cluster_log(text: bytes) -> dict[str, tuple[str, ...]]:
    """The nodes of each cluster, in the log's order, by the cluster's uuid. Accepts any bytes."""
    return {uuid: tuple(dict.fromkeys(value.split())) for uuid, value in parse_timed_log(text).items()}
