"""Which nodes of a cluster content goes to, by their preferred content expressions.

Expressions are judged by what can be known. The key and its size, the client's name for it, the nodes' groups and how
many copies there should be are known at once. Who has the content already is asked of the nodes, and only where an
expression depends on it. How many bytes a node holds cannot be asked; somebody else has to know it of the nodes that
have a maximum size (`Sizes`). Balancing by size in a group where no node has one is an error when it is loaded.

A node that does not answer may have the content or not. Expressions are then judged both ways, and content goes where
either way wants it: a copy too many is the lesser harm. Copies are counted among the nodes; those elsewhere are not
known here.
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
"""Whether nodes have a content. Those that do not answer are left out."""


Sizes = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
"""How many bytes of content repositories hold. RemoteError where nobody knows it of one."""


async def nobody_knows(uuids: Collection[str]) -> Mapping[str, int]:
    """`Sizes` where there are none."""
    raise RemoteError("nobody knows how many bytes the nodes hold, which their preferred content depends on")


@attrs.frozen
class Preference:
    """What a node wants: an expression, empty where it has none, and the groups that the node is in. `max_size` is how
    many bytes it may hold, where that is limited."""

    uuid: str
    expression: str = ""
    groups: frozenset[str] = frozenset()
    max_size: int | None = None


@attrs.frozen
class PreferredContent:
    """The preferences of all nodes of a cluster, of those too that cannot be reached. Made by `load`."""

    names: Mapping[str, str]
    """What each repository is called here, by its uuid."""
    expressions: Mapping[str, Expression]
    groups: Mapping[str, frozenset[str]]
    numcopies: int
    max_sizes: Mapping[str, int]
    """Of those repositories whose size an expression depends on."""

    @classmethod
    def load(
        cls, preferences: Mapping[str, Preference], *, group_wanted: Mapping[str, str] | None = None, numcopies: int = 1
    ) -> Self:
        """The preferences of nodes, by the nodes' names. InvalidExpression names the node, and the term.

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
                            f"{term} cannot be judged: no node in the group {group} has a maximum size"
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
        self, key: Key, file: bytes | None, nodes: Sequence[Node], ask: Ask, sizes: Sizes = nobody_knows
    ) -> list[Node]:
        """Those of `nodes`, the ones that can be reached, that content goes to.

        Where none of them wants it, those that have it: who uploads it again hears so. RemoteError otherwise.
        """
        holders: frozenset[str] = frozenset()
        unknown: frozenset[str] = frozenset()
        # Who has the content needs no room for it; others may.
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
        """Which repositories have the content, and of which nobody knows it."""
        answers = await ask(key, nodes)
        holders = frozenset([node.uuid for node, present in answers.items() if present])
        return holders, frozenset(self.expressions) - {node.uuid for node in answers}
