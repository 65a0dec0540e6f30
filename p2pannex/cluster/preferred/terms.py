"""The terms and operators of a preferred content expression, as a tree of frozen objects. `judge` evaluates them."""

from __future__ import annotations

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
class And:
    """``A and B``, or just ``A B``."""

    left: Expression
    right: Expression


@attrs.frozen
class Or:
    """``A or B``."""

    left: Expression
    right: Expression


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
    | And
    | Or
)


def is_stable(expression: Expression, *, negated: bool = False) -> bool:
    """Whether getting the content can never make it unwanted: no ``present``, ``balanced=`` or ``sizebalanced=`` is
    below an odd number of ``not``. In git-annex an expression that is not stable matches nothing."""
    match expression:
        case Not(operand):
            return is_stable(operand, negated=not negated)
        case And(left, right) | Or(left, right):
            return is_stable(left, negated=negated) and is_stable(right, negated=negated)
        case Present():
            return not negated
        case Balanced(fully=False):
            return not negated
        case _:
            return True
