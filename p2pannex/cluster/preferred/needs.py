"""What has to be known before an expression can be judged, read from its tree."""

from __future__ import annotations

from collections.abc import Iterator

from p2pannex.cluster.preferred.terms import (
    And,
    Balanced,
    Copies,
    Expression,
    InAllGroup,
    LackingCopies,
    Not,
    OnlyInGroup,
    Or,
    Present,
)


def needs_holders(expression: Expression) -> bool:
    """Whether it depends on which repositories have the content."""
    return any(
        isinstance(term, Copies | LackingCopies | InAllGroup | OnlyInGroup | Present)
        or (isinstance(term, Balanced) and not (term.fully and not term.by_size and term.number is not None))
        for term in leaves(expression)
    )


def balanced_by_size(expression: Expression) -> str | None:
    """A term of it, as it was written, that depends on how many bytes each repository holds; None without one."""
    for term in leaves(expression):
        if isinstance(term, Balanced) and term.by_size:
            return f"{'fully' if term.fully else ''}sizebalanced={term.group}"
    return None


def leaves(expression: Expression) -> Iterator[Expression]:
    """The terms of an expression, in the order in which they stand."""
    match expression:
        case Not(operand):
            yield from leaves(operand)
        case And(left, right) | Or(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case _:
            yield expression
