"""Which repositories of a group a content is balanced to.

Written from git-annex's design page "balanced preferred content", which says the rule in words; what it leaves open
(sizes, ties) follows what the program was seen to do. docs/reference/preferred-content.md has both.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Set
from fractions import Fraction

from p2pannex.cluster.preferred.facts import Facts


def picked(members: Set[str], number: int, facts: Facts) -> frozenset[str]:
    """The `number` repositories that a content falls to by its key, among the members that have room for it."""
    group = sorted(members)
    candidates = [uuid for uuid in group if _fits(uuid, facts)]
    if not candidates:
        return frozenset()
    digest = hmac.digest("".join(group).encode(), bytes(facts.key), hashlib.sha256)
    first = int.from_bytes(digest, "big")
    return frozenset(candidates[(first + i) % len(candidates)] for i in range(number))


def most_room(members: Set[str], number: int, facts: Facts) -> frozenset[str]:
    """The `number` members that are least full in proportion to their maximum sizes. Equals: the last uuid first."""
    limited = [uuid for uuid in members if facts.max_sizes.get(uuid) and _fits(uuid, facts)]
    limited.sort(reverse=True)
    limited.sort(key=lambda uuid: Fraction(_used(uuid, facts), facts.max_sizes[uuid]))
    return frozenset(limited[:number])


def _fits(uuid: str, facts: Facts) -> bool:
    limit = facts.max_sizes.get(uuid)
    return limit is None or _used(uuid, facts) + (facts.key.size or 0) <= limit


def _used(uuid: str, facts: Facts) -> int:
    """Bytes that a repository holds without the content in question."""
    used = facts.sizes.get(uuid, 0)
    if uuid in facts.holders:
        used -= facts.key.size or 0
    return max(used, 0)
