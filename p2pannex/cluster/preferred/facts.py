"""The facts that expressions are evaluated by."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from p2pannex.git_annex.logs.trust_log import TrustLevel
from p2pannex.keys.key import Key


@attrs.frozen
class Facts:
    """What is known about a content and about the repositories, at one moment.

    - `file`: the associated file, relative to the top of the repository, if the client named one.
    - `holders`: the UUIDs of the repositories that have the content. Dead ones may be among them.
    - `groups`, `trust`: by UUID, as in git-annex's logs.
    - `numcopies`: how many copies there should be.
    - `sizes`: how many bytes of content each repository holds.
    - `max_sizes`: how many bytes each may hold, for repositories with a limit.
    - `rebalance`: as git-annex's --rebalance, makes ``balanced`` mean ``fullybalanced``, and ``sizebalanced`` mean
      ``fullysizebalanced``.
    """

    key: Key
    file: str | None = None
    holders: frozenset[str] = frozenset()
    groups: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    trust: Mapping[str, TrustLevel] = attrs.field(factory=dict)
    numcopies: int = 1
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    max_sizes: Mapping[str, int] = attrs.field(factory=dict)
    rebalance: bool = False

    def trust_in(self, uuid: str) -> TrustLevel:
        return self.trust.get(uuid, TrustLevel.SEMITRUSTED)

    def living_holders(self) -> frozenset[str]:
        """The repositories that have the content, without dead ones: the content of those is gone."""
        return frozenset([uuid for uuid in self.holders if self.trust_in(uuid) is not TrustLevel.DEAD])

    def by_group(self) -> dict[str, frozenset[str]]:
        """The members of each group."""
        members: dict[str, list[str]] = {}
        for uuid, groups in self.groups.items():
            for group in groups:
                members.setdefault(group, []).append(uuid)
        return {group: frozenset(uuids) for group, uuids in members.items()}
