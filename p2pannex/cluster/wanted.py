"""Which nodes of a cluster to store content on, by the nodes' preferred content expressions.

An expression is evaluated by these facts:

- The key and its size, the client's name for the content, the nodes' groups, and how many copies there should be are
  known without a request.
- Which nodes have the content already is requested from the nodes, but only if an expression depends on it.
- How many bytes a node holds matters for nodes with a maximum size. The protocol has no request for it; the caller
  provides it (`Sizes`). An expression that balances by size in a group without any maximum size is an error when it is
  loaded.

A node that does not reply may have the content or not. Then both cases are evaluated, and content goes wherever either
case wants it: a copy too many is the lesser harm. Only copies on the nodes are counted; others are not known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Self

import attrs

from p2pannex.cluster.node import Node
from p2pannex.cluster.preferred import Expression, Facts, InvalidExpression, load, wants
from p2pannex.cluster.preferred.needs import balanced_groups, needs_holders
from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key

Ask = Callable[[Key, Iterable[Node]], Awaitable[Mapping[Node, bool]]]
"""Whether each node has the content. Nodes that do not reply are left out of the result."""


Sizes = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
"""How many bytes of content each repository holds. RemoteError if it is unknown for one of them."""


async def sizes_unknown(uuids: Collection[str]) -> Mapping[str, int]:
    """The `Sizes` of a cluster that cannot find out any."""
    raise RemoteError("the nodes' preferred content depends on how many bytes they hold, which is not known")


@attrs.frozen
class Preference:
    """What the node `uuid` wants: its expression, empty if it has none, and the groups that it is in. `max_size` is how
    many bytes it may hold; None for no limit."""

    uuid: str
    expression: str = ""
    groups: frozenset[str] = frozenset()
    max_size: int | None = None


@attrs.frozen
class PreferredContent:
    """The preferences of all nodes of a cluster, including nodes that cannot be reached. Made by `load`."""

    names: Mapping[str, str]
    """The nodes' names, by UUID."""
    expressions: Mapping[str, Expression]
    groups: Mapping[str, frozenset[str]]
    numcopies: int
    max_sizes: Mapping[str, int]
    """In bytes, for the repositories whose size an expression depends on."""

    @classmethod
    def load(
        cls, preferences: Mapping[str, Preference], *, group_wanted: Mapping[str, str] | None = None, numcopies: int = 1
    ) -> Self:
        """Parse the preferences of all nodes, which are given by the nodes' names. InvalidExpression names the node and
        the term.

        `group_wanted` are the expressions that ``groupwanted`` stands for, by the name of the group.
        """
        expressions: dict[str, Expression] = {}
        limits: dict[str, int] = {}
        for name, preference in preferences.items():
            try:
                expression = load(preference.expression, groups=preference.groups, group_wanted=group_wanted)
                for term, group, by_size in balanced_groups(expression):
                    members = [each for each in preferences.values() if group in each.groups]
                    limits |= {each.uuid: each.max_size for each in members if each.max_size is not None}
                    if by_size and all(each.max_size is None for each in members):
                        raise InvalidExpression(
                            f"{term} cannot be evaluated: no node in the group {group} has a maximum size"
                        )
            except InvalidExpression as error:
                raise InvalidExpression(f"node {name}: {error}") from error
            expressions[preference.uuid] = expression
        return cls(
            {preference.uuid: name for name, preference in preferences.items()},
            expressions,
            {preference.uuid: preference.groups for preference in preferences.values()},
            numcopies,
            limits,
        )

    async def choose(
        self, key: Key, file: bytes | None, nodes: Sequence[Node], ask: Ask, sizes: Sizes = sizes_unknown
    ) -> list[Node]:
        """Those of `nodes`, the ones that can be reached, to store the content on.

        If none of them wants it, those that have it already, so that a client that uploads it again gets ALREADY-HAVE.
        RemoteError if there are no such nodes either.
        """
        holders: frozenset[str] = frozenset()
        unknown: frozenset[str] = frozenset()
        # With maximum sizes the holders matter as well: a node that has the content needs no more space for it.
        asks = bool(self.max_sizes) or any(needs_holders(tree) for tree in self.expressions.values())
        if asks:
            holders, unknown = await self._holders(key, nodes, ask)
        facts = Facts(
            key,
            file=None if file is None else file.decode("utf-8", "surrogateescape"),
            holders=holders,
            groups=self.groups,
            numcopies=self.numcopies,
            sizes=await sizes(self.max_sizes) if self.max_sizes else {},
            max_sizes=self.max_sizes,
        )
        cases = [facts] if not unknown else [facts, attrs.evolve(facts, holders=holders | unknown)]
        wanting = {
            uuid
            for uuid, expression in self.expressions.items()
            if any(wants(expression, case, uuid) for case in cases)
        }
        chosen = [node for node in nodes if node.uuid in wanting]
        if not chosen:
            if not asks:
                holders, _ = await self._holders(key, nodes, ask)
            chosen = [node for node in nodes if node.uuid in holders]
        if chosen:
            return chosen
        if wanting:
            names = ", ".join(sorted(self.names[uuid] for uuid in wanting))
            raise RemoteError(f"the nodes that want this content cannot be reached: {names}")
        raise RemoteError("no node of the cluster wants this content")

    async def _holders(self, key: Key, nodes: Sequence[Node], ask: Ask) -> tuple[frozenset[str], frozenset[str]]:
        """The repositories that have the content, and those that may have it or not."""
        replies = await ask(key, nodes)
        holders = frozenset([node.uuid for node, present in replies.items() if present])
        return holders, frozenset(self.expressions) - {node.uuid for node in replies}
