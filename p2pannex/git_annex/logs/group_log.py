"""Which groups each repository is in: group.log, the names of groups separated by spaces."""

from __future__ import annotations

from p2pannex.git_annex.logs.repository_log import parse_repository_log


def parse_group_log(text: bytes) -> dict[str, frozenset[str]]:
    """The groups of each repository that is in any. Any bytes are a log."""
    return {uuid: frozenset(value.split()) for uuid, value in parse_repository_log(text).items() if value}
