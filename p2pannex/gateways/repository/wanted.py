"""Which nodes of a cluster to store content on, by the preferences in the git-annex branch.

A node wants a content if its preferred content expression or its required content expression matches; a node without a
preferred content expression wants everything. If no node wants the content, all nodes get it, because a client that
sends content to a cluster may be about to drop its own copy. Dead repositories get nothing, unless all are dead. All
this is as in git-annex.

If a node's expression cannot be evaluated, p2pannex does not guess: uploads are refused, and the error names the node
and the term. All other requests still work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Self

import attrs

from p2pannex.errors import RemoteError
from p2pannex.git_annex.logs import names
from p2pannex.git_annex.logs.group_log import parse_group_log
from p2pannex.git_annex.logs.maxsize_log import parse_maxsize_log
from p2pannex.git_annex.logs.numcopies_log import parse_numcopies_log
from p2pannex.git_annex.logs.repository_log import parse_wanted_log
from p2pannex.git_annex.logs.timed_log import parse_group_wanted_log
from p2pannex.git_annex.logs.trust_log import TrustLevel, parse_trust_log
from p2pannex.keys.key import Key

if TYPE_CHECKING:
    from p2pannex.cluster.preferred import Expression, Facts

LOGS = (
    names.GROUP_LOG,
    names.PREFERRED_CONTENT_LOG,
    names.REQUIRED_CONTENT_LOG,
    names.GROUP_PREFERRED_CONTENT_LOG,
    names.TRUST_LOG,
    names.MAXSIZE_LOG,
    names.NUMCOPIES_LOG,
)
"""The logs that an evaluation needs, besides the location log."""


class Undecidable(RemoteError):
    """It cannot be decided which nodes want the content."""


@attrs.frozen
class Preferences:
    """What the nodes of a cluster want, and the facts for the evaluation, except those about one content.

    `expressions` are by the nodes' UUIDs; a node wants what one of its expressions matches, and everything if it is not
    listed. `problems`, also by UUID, has one line for each node with an expression that cannot be evaluated.
    """

    groups: Mapping[str, frozenset[str]]
    trust: Mapping[str, TrustLevel]
    max_sizes: Mapping[str, int]
    numcopies: int
    expressions: Mapping[str, tuple[Expression, ...]]
    problems: Mapping[str, str]

    @classmethod
    def of(
        cls,
        logs: Mapping[bytes, bytes],
        nodes: Mapping[str, str],
        *,
        numcopies: int = 1,
        unreadable: str = "",
        trust: Mapping[str, TrustLevel] | None = None,
    ) -> Self:
        """Parse the texts of `LOGS`. `nodes` are the nodes' names by UUID. `numcopies` is the default if none is
        logged. `trust` overrides what is logged: the git config's remote.NAME.annex-trustlevel.
        `unreadable`: why a log could not be read; then it cannot be decided what any node wants."""
        if unreadable:
            problems = {uuid: f"cannot evaluate what {name} wants: {unreadable}" for uuid, name in nodes.items()}
            return cls({}, {}, {}, 1, {}, problems)
        groups = parse_group_log(logs[names.GROUP_LOG])
        group_wanted = parse_group_wanted_log(logs[names.GROUP_PREFERRED_CONTENT_LOG])
        preferred = parse_wanted_log(logs[names.PREFERRED_CONTENT_LOG])
        required = parse_wanted_log(logs[names.REQUIRED_CONTENT_LOG])
        expressions: dict[str, tuple[Expression, ...]] = {}
        problems = {}
        for uuid, name in nodes.items():
            if uuid not in preferred:
                continue
            from p2pannex.cluster.preferred import InvalidExpression, load  # few clusters need it

            texts = [text for text in (preferred[uuid], required.get(uuid)) if text]
            try:
                expressions[uuid] = tuple(
                    load(text, groups=groups.get(uuid, frozenset()), group_wanted=group_wanted) for text in texts
                )
            except InvalidExpression as error:
                problems[uuid] = f"cannot evaluate what {name} wants: {error}"
        return cls(
            groups,
            parse_trust_log(logs[names.TRUST_LOG]) | dict(trust or {}),
            parse_maxsize_log(logs[names.MAXSIZE_LOG]),
            parse_numcopies_log(logs[names.NUMCOPIES_LOG]) or numcopies,
            expressions,
            problems,
        )

    @property
    def needs_sizes(self) -> bool:
        """Whether `choose` needs the sizes of the repositories."""
        if not self.expressions:
            return False
        from p2pannex.cluster.preferred.needs import balanced_groups

        return any(by_size or self.max_sizes for tree in self._trees() for _, _, by_size in balanced_groups(tree))

    @property
    def needs_holders(self) -> bool:
        """Whether `choose` needs the repositories that have the content. Sizes need them too: the size of a repository
        is counted without the content in question."""
        if not self.expressions:
            return False
        from p2pannex.cluster.preferred.needs import needs_holders

        return self.needs_sizes or any(needs_holders(tree) for tree in self._trees())

    def _trees(self) -> Iterator[Expression]:
        for expressions in self.expressions.values():
            yield from expressions

    def choose(
        self,
        key: Key,
        file: bytes | None,
        nodes: Iterable[str],
        holders: Iterable[str],
        sizes: Mapping[str, int] | None = None,
    ) -> frozenset[str]:
        """Those of `nodes` to store the content on. `holders` are the repositories that have it, `sizes` is how many
        bytes each repository holds. Undecidable if an expression cannot be evaluated."""
        nodes = frozenset(nodes)
        for uuid in sorted(nodes & self.problems.keys()):
            raise Undecidable(self.problems[uuid])
        living = nodes - {uuid for uuid, level in self.trust.items() if level is TrustLevel.DEAD} or nodes
        if not self.expressions:
            return living
        from p2pannex.cluster.preferred import Facts

        facts = Facts(
            key,
            None if file is None else os.fsdecode(file),
            frozenset(holders),
            self.groups,
            self.trust,
            self.numcopies,
            sizes or {},
            self.max_sizes,
        )
        wanting = frozenset(uuid for uuid in living if self._wants(uuid, facts))
        return wanting or living

    def _wants(self, uuid: str, facts: Facts) -> bool:
        from p2pannex.cluster.preferred import wants

        expressions = self.expressions.get(uuid)
        return expressions is None or any(wants(expression, facts, uuid) for expression in expressions)
