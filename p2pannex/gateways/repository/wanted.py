"""Where content that is uploaded to a cluster goes: to the nodes that want it, as the branch says.

A node wants a content by its preferred content expression (without one it wants everything) or its required content.
Where no node wants it, all of them get it: a client that sends content to a cluster may be about to drop its own copy.
Dead repositories get nothing, unless there are no others. All this is as git-annex does it.

An expression that cannot be judged is no reason to guess. Uploads are refused while a node has one, in words that name
the node and the term; everything else goes on.
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
"""What it takes to judge, beside who has a content."""


class Undecidable(RemoteError):
    """Nobody can say which nodes want the content."""


@attrs.frozen
class Preferences:
    """What the nodes of a cluster want, and all that it takes to judge it but the content itself.

    `expressions` are those of each node that has any: it wants what one of them does. `problems` tells of nodes whose
    expressions cannot be judged, in words for people.
    """

    groups: Mapping[str, frozenset[str]]
    trust: Mapping[str, TrustLevel]
    max_sizes: Mapping[str, int]
    numcopies: int
    expressions: Mapping[str, tuple[Expression, ...]]
    problems: Mapping[str, str]

    @classmethod
    def of(cls, logs: Mapping[bytes, bytes], nodes: Mapping[str, str], *, numcopies: int = 1) -> Self:
        """From the texts of `LOGS`, for nodes, whose names are by uuid. `numcopies` is for where none is logged."""
        groups = parse_group_log(logs[names.GROUP_LOG])
        group_wanted = parse_group_wanted_log(logs[names.GROUP_PREFERRED_CONTENT_LOG])
        preferred = parse_wanted_log(logs[names.PREFERRED_CONTENT_LOG])
        required = parse_wanted_log(logs[names.REQUIRED_CONTENT_LOG])
        expressions: dict[str, tuple[Expression, ...]] = {}
        problems: dict[str, str] = {}
        for uuid, name in nodes.items():
            if uuid not in preferred:
                continue
            from p2pannex.cluster.preferred import InvalidExpression, load  # most clusters get by without

            texts = [text for text in (preferred[uuid], required.get(uuid)) if text]
            try:
                expressions[uuid] = tuple(
                    load(text, groups=groups.get(uuid, frozenset()), group_wanted=group_wanted) for text in texts
                )
            except InvalidExpression as error:
                problems[uuid] = f"cannot judge what {name} wants: {error}"
        return cls(
            groups,
            parse_trust_log(logs[names.TRUST_LOG]),
            parse_maxsize_log(logs[names.MAXSIZE_LOG]),
            parse_numcopies_log(logs[names.NUMCOPIES_LOG]) or numcopies,
            expressions,
            problems,
        )

    @property
    def needs_sizes(self) -> bool:
        """Whether it matters how much each repository holds."""
        if not self.expressions:
            return False
        from p2pannex.cluster.preferred.needs import balanced_groups

        return any(by_size or self.max_sizes for tree in self._trees() for _, _, by_size in balanced_groups(tree))

    @property
    def needs_holders(self) -> bool:
        """Whether it matters who has a content: what a repository holds is counted without it, too."""
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
        """Which of `nodes` the content should go to. `holders` have it, `sizes` is how many bytes each repository
        holds. Undecidable where an expression cannot be judged."""
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
