"""The terms and operators of a preferred content expression, as a tree of frozen objects. `judge` evaluates them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from p2pannex.cluster.preferred.glob import Glob
from p2pannex.git_annex.logs.trust_log import TrustLevel


@attrs.frozen
class Constant:
    """``anything`` or ``nothing``."""

    value: bool


@attrs.frozen
class Include:
    """``include=GLOB``: the associated file matches. False without an associated file."""

    glob: Glob


@attrs.frozen
class Exclude:
    """``exclude=GLOB``: the associated file does not match. True without an associated file."""

    glob: Glob


@attrs.frozen
class Copies:
    """``copies=N``, ``copies=GROUP:N``, ``copies=LEVEL:N``, ``copies=LEVEL+:N``."""

    number: int
    group: str | None = None
    level: TrustLevel | None = None
    or_higher: bool = False


@attrs.frozen
class LackingCopies:
    """``lackingcopies=N`` and ``approxlackingcopies=N``: at least N copies are missing to reach numcopies."""

    number: int


@attrs.frozen
class InBackend:
    """``inbackend=NAME``."""

    backend: str


@attrs.frozen
class SecureHash:
    """``securehash``: the key's hash is a cryptographically secure one."""


@attrs.frozen
class InAllGroup:
    """``inallgroup=GROUP``."""

    group: str


@attrs.frozen
class OnlyInGroup:
    """``onlyingroup=GROUP``."""

    group: str


@attrs.frozen
class SmallerThan:
    """``smallerthan=SIZE``, in bytes. Content of unknown size counts as smaller."""

    size: int


@attrs.frozen
class LargerThan:
    """``largerthan=SIZE``, in bytes."""

    size: int


@attrs.frozen
class Present:
    """``present``: the repository has the content."""


@attrs.frozen
class Balanced:
    """``balanced=``, ``fullybalanced=``, ``sizebalanced=`` and ``fullysizebalanced=`` with GROUP or GROUP:N.

    `number` is None for ``GROUP:lackingcopies``.
    """

    group: str
    number: int | None
    by_size: bool
    fully: bool


@attrs.frozen
class Not:
    """``not A``."""

    operand: Expression


@attrs.frozen
class Sequence:
    """``A and B or C``: `first`, and then, for each further operand, whether ``and`` comes before it, or ``or``.

    Both group from the left. It is one object for any number of operands, so that only parentheses make a tree deep.
    """

    first: Expression
    others: tuple[tuple[bool, Expression], ...]


Expression: TypeAlias = (
    Constant
    | Include
    | Exclude
    | Copies
    | LackingCopies
    | InBackend
    | SecureHash
    | InAllGroup
    | OnlyInGroup
    | SmallerThan
    | LargerThan
    | Present
    | Balanced
    | Not
    | Sequence
)


def leaves(expression: Expression) -> Iterator[tuple[Expression, bool]]:
    """The terms of an expression, and whether each is below an odd number of ``not``.

    A part that the parser uses several times, for several ``groupwanted``, is visited once.
    """
    left: list[tuple[Expression, bool]] = [(expression, False)]
    visited: set[tuple[int, bool]] = set()
    while left:
        each, negated = left.pop()
        if isinstance(each, Not):
            left.append((each.operand, not negated))
        elif not isinstance(each, Sequence):
            yield each, negated
        elif (id(each), negated) not in visited:
            visited.add((id(each), negated))
            left += [(operand, negated) for _, operand in reversed(each.others)]
            left.append((each.first, negated))


def is_stable(expression: Expression) -> bool:
    """Whether getting the content can never make it unwanted: no ``present``, ``balanced=`` or ``sizebalanced=`` is
    below an odd number of ``not``. In git-annex an expression that is not stable matches nothing."""
    return not any(
        negated and (isinstance(term, Present) or (isinstance(term, Balanced) and not term.fully))
        for term, negated in leaves(expression)
    )
