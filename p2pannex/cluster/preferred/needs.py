"""Which facts the result of an expression depends on, read from its tree."""

from __future__ import annotations

from collections.abc import Iterator

from p2pannex.cluster.preferred.terms import (
    Balanced,
    Copies,
    Expression,
    InAllGroup,
    LackingCopies,
    OnlyInGroup,
    Present,
    leaves,
)


def needs_holders(expression: Expression) -> bool:
    """Whether the result depends on which repositories have the content."""
    return any(
        isinstance(term, Copies | LackingCopies | InAllGroup | OnlyInGroup | Present)
        or (isinstance(term, Balanced) and not (term.fully and not term.by_size and term.number is not None))
        for term, _ in leaves(expression)
    )


def balanced_groups(expression: Expression) -> Iterator[tuple[str, str, bool]]:
    """The terms that choose among the repositories of a group. For each term: its text without the number, the group,
    and whether it always depends on how full the repositories are. The other terms depend on that only if repositories
    have a maximum size."""
    for term, _ in leaves(expression):
        if isinstance(term, Balanced):
            text = f"{'fully' if term.fully else ''}{'size' if term.by_size else ''}balanced={term.group}"
            yield text, term.group, term.by_size
