"""Evaluates the tree of an expression: whether a repository wants a content. No input or output."""

from __future__ import annotations

import attrs

from p2pannex.cluster.preferred.balance import most_room, picked
from p2pannex.cluster.preferred.facts import Facts
from p2pannex.cluster.preferred.terms import (
    And,
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
    Or,
    Present,
    SecureHash,
    SmallerThan,
)
from p2pannex.git_annex.logs.trust_log import TrustLevel


def wants(expression: Expression, facts: Facts, repository: str) -> bool:
    """Whether `repository`, a UUID, wants to get the content, or to keep it. The expression is its own."""
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

    def judge(self, expression: Expression) -> bool:
        facts = self._facts
        match expression:
            case Constant(value):
                return value
            case Not(operand):
                return not self.judge(operand)
            case And(left, right):
                return self.judge(left) and self.judge(right)
            case Or(left, right):
                return self.judge(left) or self.judge(right)
            case Include(glob):
                return facts.file is not None and glob.matches(facts.file)
            case Exclude(glob):
                return facts.file is None or not glob.matches(facts.file)
            case Copies():
                return self._copies(expression) >= expression.number
            case LackingCopies(number):
                return self._lacking() >= number
            case InBackend(backend):
                return facts.key.backend == backend
            case SecureHash():
                return facts.key.cryptographically_secure
            case InAllGroup(group):
                return facts.members(group) <= self._holders
            case OnlyInGroup(group):
                return bool(self._holders) and self._holders <= facts.members(group)
            case SmallerThan(size):
                return facts.key.size is None or facts.key.size < size
            case LargerThan(size):
                return facts.key.size is not None and facts.key.size > size
            case Present():
                return self._repository in facts.living_holders()
            case Balanced():
                return self._balanced(expression)

    def _copies(self, term: Copies) -> int:
        holders = self._holders
        if term.group is not None:
            return len(holders & self._facts.members(term.group))
        if term.level is None:
            return len(holders)
        trust = [self._facts.trust_in(uuid) for uuid in holders]
        return len([level for level in trust if level == term.level or (term.or_higher and level > term.level)])

    def _lacking(self) -> int:
        counted = [uuid for uuid in self._holders if self._facts.trust_in(uuid) >= TrustLevel.SEMITRUSTED]
        return self._facts.numcopies - len(counted)

    def _balanced(self, term: Balanced) -> bool:
        number = term.number
        if number is None:  # GROUP:lackingcopies: the copies that the group has, and as many more as are lacking
            number = max(0, self._lacking() + len(self._holders & self._facts.members(term.group)))
        if not term.fully and not self._facts.rebalance:
            fully = attrs.evolve(term, number=number, fully=True)
            enough = Copies(number, group=term.group)
            return self.judge(Or(And(fully, Not(enough)), Present()))
        members = self._facts.members(term.group)
        chosen = most_room(members, number, self._facts) if term.by_size else picked(members, number, self._facts)
        return self._repository in chosen
