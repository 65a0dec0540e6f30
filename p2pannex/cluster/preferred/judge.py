"""Evaluates the tree of an expression: whether a repository wants a content. No input or output.

Each term is evaluated once, and the members of each group are found once, however often an expression has them. So the
time grows with the length of the expression, plus that of the facts.
"""

from __future__ import annotations

from p2pannex.cluster.preferred.balance import order_by_key, order_by_room
from p2pannex.cluster.preferred.facts import Facts
from p2pannex.cluster.preferred.glob import Glob
from p2pannex.cluster.preferred.terms import (
    Balanced,
    Constant,
    Copies,
    Exclude,
    Expression,
    InAllGroup,
    InBackend,
    Include,
    LackingCopies,
    LargerThan,
    Not,
    OnlyInGroup,
    Present,
    SecureHash,
    Sequence,
    SmallerThan,
)
from p2pannex.errors import RemoteError
from p2pannex.git_annex.logs.trust_log import TrustLevel

FILE_NAME_MAX = 4096
"""Characters of the longest name that globs are matched against. No kernel accepts a longer path."""


def wants(expression: Expression, facts: Facts, repository: str) -> bool:
    """Whether `repository`, a UUID, wants to get the content, or to keep it. The expression is its own.

    RemoteError if it has globs, and the file name is longer than `FILE_NAME_MAX`."""
    return _Judge(facts, repository, facts.living_holders()).judge(expression)


def wants_to_keep(expression: Expression, facts: Facts, repository: str) -> bool:
    """Whether `repository` would want the content again after dropping it. If not, it may drop it. Its own copy is not
    counted, but ``present`` still means that the content is there now."""
    return _Judge(facts, repository, facts.living_holders() - {repository}).judge(expression)


class _Judge:
    def __init__(self, facts: Facts, repository: str, counted: frozenset[str]) -> None:
        self._facts = facts
        self._repository = repository
        self._holders = counted
        self._judged: dict[Expression, bool] = {}
        self._sequences: dict[int, bool] = {}  # by identity: to compare sequences takes as long as to evaluate them
        self._groups: dict[str, frozenset[str]] | None = None
        self._counts: dict[object, int] = {}
        self._positions: dict[tuple[str, bool], int | None] = {}

    def judge(self, expression: Expression) -> bool:
        """The recursion is as deep as the parentheses, which the parser limits."""
        if isinstance(expression, Not):
            return not self.judge(expression.operand)
        if not isinstance(expression, Sequence):
            if (known := self._judged.get(expression)) is None:
                known = self._judged[expression] = self._term(expression)
            return known
        if (known := self._sequences.get(id(expression))) is None:
            known = self.judge(expression.first)
            for both, operand in expression.others:
                if known == both:  # otherwise the operand does not matter
                    known = self.judge(operand)
            self._sequences[id(expression)] = known
        return known

    def _term(self, term: Expression) -> bool:
        facts = self._facts
        match term:
            case Constant(value):
                return value
            case Include(glob):
                return self._matches(glob)
            case Exclude(glob):
                return not self._matches(glob)
            case Copies():
                return self._copies(term) >= term.number
            case LackingCopies(number):
                return self._lacking() >= number
            case InBackend(backend):
                return facts.key.backend == backend
            case SecureHash():
                return facts.key.cryptographically_secure
            case InAllGroup(group):
                return self._members(group) <= self._holders
            case OnlyInGroup(group):
                return bool(self._holders) and self._holders <= self._members(group)
            case SmallerThan(size):
                return facts.key.size is None or facts.key.size < size
            case LargerThan(size):
                return facts.key.size is not None and facts.key.size > size
            case Present():
                return self._repository in facts.living_holders()
            case Balanced():
                return self._balanced(term)
            case _:
                raise AssertionError(f"no term: {term}")

    def _matches(self, glob: Glob) -> bool:
        file = self._facts.file
        if file is None:
            return False
        if len(file) > FILE_NAME_MAX:
            raise RemoteError(
                f"the file name has {len(file)} characters, and preferred content with globs is evaluated for at most "
                f"{FILE_NAME_MAX}; use a shorter name"
            )
        return glob.matches(file)

    def _members(self, group: str) -> frozenset[str]:
        if self._groups is None:
            self._groups = self._facts.by_group()
        return self._groups.get(group, frozenset())

    def _copies(self, term: Copies) -> int:
        what = (term.group, term.level, term.or_higher)
        if (known := self._counts.get(what)) is None:
            known = self._counts[what] = self._count(term)
        return known

    def _count(self, term: Copies) -> int:
        holders = self._holders
        if term.group is not None:
            return len(holders & self._members(term.group))
        if term.level is None:
            return len(holders)
        trust = [self._facts.trust_in(uuid) for uuid in holders]
        return len([level for level in trust if level == term.level or (term.or_higher and level > term.level)])

    def _lacking(self) -> int:
        return self._facts.numcopies - self._copies(Copies(0, level=TrustLevel.SEMITRUSTED, or_higher=True))

    def _balanced(self, term: Balanced) -> bool:
        number = term.number
        if number is None:  # GROUP:lackingcopies: the copies that the group has, and as many more as are lacking
            number = max(0, self._lacking() + self._copies(Copies(0, group=term.group)))
        if not term.fully and not self._facts.rebalance:
            enough = self.judge(Copies(number, group=term.group))
            return (not enough and self._chosen(term, number)) or self.judge(Present())
        return self._chosen(term, number)

    def _chosen(self, term: Balanced, number: int) -> bool:
        what = (term.group, term.by_size)
        if what not in self._positions:
            order = (order_by_room if term.by_size else order_by_key)(self._members(term.group), self._facts)
            self._positions[what] = order.index(self._repository) if self._repository in order else None
        position = self._positions[what]
        return position is not None and position < number
