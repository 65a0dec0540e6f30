"""What an expression is judged by."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from p2pannex.git_annex.logs.trust_log import TrustLevel
from p2pannex.keys.key import Key


@attrs.frozen
class Facts:
    """All that is known of a content and of the repositories, at one moment.

    `file` is the associated file, relative to the top of the repository, if the client named one. `holders` are the
    uuids of those that have the content; the dead need not be left out. `groups` and `trust` are by uuid, as the logs
    have them. `numcopies` is how many copies there should be. `sizes` is how many bytes of content each repository
    holds, `max_sizes` how many it may, where that is limited. `rebalance` makes ``balanced`` mean ``fullybalanced``,
    and ``sizebalanced`` ``fullysizebalanced``, as git-annex's --rebalance does.
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
        """Those that have the content, without the dead: what they had is gone."""
        return frozenset([uuid for uuid in self.holders if self.trust_in(uuid) is not TrustLevel.DEAD])

    def members(self, group: str) -> frozenset[str]:
        return frozenset([uuid for uuid, groups in self.groups.items() if group in groups])
