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


def order_by_key(members: Set[str], facts: Facts) -> list[str]:
    """The members with enough space for the content, in the order in which the key selects them."""
    group = sorted(members)
    candidates = [uuid for uuid in group if _fits(uuid, facts)]
    if not candidates:
        return []
    digest = hmac.digest("".join(group).encode("utf-8", "surrogateescape"), bytes(facts.key), hashlib.sha256)
    first = int.from_bytes(digest, "big") % len(candidates)
    return candidates[first:] + candidates[:first]


def order_by_room(members: Set[str], facts: Facts) -> list[str]:
    """The members with a maximum size and enough space. Those that are least full in proportion to their maximum sizes
    come first; of equally full members, the last UUID."""
    limited = [uuid for uuid in members if facts.max_sizes.get(uuid) and _fits(uuid, facts)]
    limited.sort(reverse=True)
    limited.sort(key=lambda uuid: Fraction(_used(uuid, facts), facts.max_sizes[uuid]))
    return limited


def _fits(uuid: str, facts: Facts) -> bool:
    limit = facts.max_sizes.get(uuid)
    return limit is None or _used(uuid, facts) + (facts.key.size or 0) <= limit


def _used(uuid: str, facts: Facts) -> int:
    """Bytes that a repository holds, not counting the content in question."""
    used = facts.sizes.get(uuid, 0)
    if uuid in facts.holders:
        used -= facts.key.size or 0
    return max(used, 0)
