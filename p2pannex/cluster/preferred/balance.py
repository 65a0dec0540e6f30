"""Chooses the repositories of a group that a content is balanced to.

Written from git-annex's design page "balanced preferred content", which describes the rule. What the page leaves open
(sizes, ties) follows the observed behaviour of git-annex. docs/reference/preferred-content.md describes both.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Set
from fractions import Fraction

from p2pannex.cluster.preferred.facts import Facts


def picked(members: Set[str], number: int, facts: Facts) -> frozenset[str]:
    """The `number` repositories that the key selects, among the members with enough space for the content."""
    group = sorted(members)
    candidates = [uuid for uuid in group if _fits(uuid, facts)]
    if not candidates:
        return frozenset()
    digest = hmac.digest("".join(group).encode(), bytes(facts.key), hashlib.sha256)
    first = int.from_bytes(digest, "big")
    return frozenset(candidates[(first + i) % len(candidates)] for i in range(number))


def most_room(members: Set[str], number: int, facts: Facts) -> frozenset[str]:
    """The `number` members that are least full in proportion to their maximum sizes. Of equally full members, the last
    UUID comes first."""
    limited = [uuid for uuid in members if facts.max_sizes.get(uuid) and _fits(uuid, facts)]
    limited.sort(reverse=True)
    limited.sort(key=lambda uuid: Fraction(_used(uuid, facts), facts.max_sizes[uuid]))
    return frozenset(limited[:number])


def _fits(uuid: str, facts: Facts) -> bool:
    limit = facts.max_sizes.get(uuid)
    return limit is None or _used(uuid, facts) + (facts.key.size or 0) <= limit


def _used(uuid: str, facts: Facts) -> int:
    """Bytes that a repository holds, not counting the content in question."""
    used = facts.sizes.get(uuid, 0)
    if uuid in facts.holders:
        used -= facts.key.size or 0
    return max(used, 0)
