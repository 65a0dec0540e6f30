"""group.log: the groups of each repository. The value is the names of the groups, separated by spaces."""

from __future__ import annotations

from p2pannex.git_annex.logs.repository_log import parse_repository_log


def parse_group_log(text: bytes) -> dict[str, frozenset[str]]:
    """The groups of each repository that is in any. Accepts any bytes."""
    return {uuid: frozenset(value.split()) for uuid, value in parse_repository_log(text).items() if value}
