"""Parses the text of a preferred content expression into its tree.

Words are separated by spaces; each parenthesis is a word of its own. ``and`` and ``or`` have the same precedence and
group from the left, as in git-annex: ``a or b and c`` is ``(a or b) and c``. ``not`` applies to the next term. Two
terms with no operator between them are joined by ``and``.

A tree is as deep as the parentheses, of which `DEPTH` may be nested. An expression may have `EXPRESSION_MAX`
characters, and its globs a cost of `GLOBS_COST_MAX`. So an expression is evaluated quickly, also if a stranger wrote it
into the git-annex branch.

Some mistakes that git-annex ignores are errors here: an operator without its term, or an extra parenthesis. A term that
cannot be evaluated is an error as well. Otherwise the gateway would have to guess where content goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from p2pannex.cluster.preferred.glob import Glob, InvalidGlob, shown
from p2pannex.cluster.preferred.standard import STANDARD
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
    is_stable,
)
from p2pannex.git_annex.logs.trust_log import TrustLevel
from p2pannex.git_annex.values import parse_size

_WORD = re.compile(r"[()]|[^\s()]+")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]+)?)([A-Za-z]*)")

DEPTH = 100
"""Parentheses within each other, those of ``standard`` and ``groupwanted`` included."""

EXPRESSION_MAX = 64 * 1024
"""Characters of the longest expression."""

GLOBS_COST_MAX = 8192
"""The largest sum of the globs' costs (`Glob.cost`) in an expression."""

_PLAIN: dict[str, Expression] = {
    "anything": Constant(True),
    "nothing": Constant(False),
    "present": Present(),
    "securehash": SecureHash(),
}
_BALANCED = {
    "balanced": (False, False),
    "fullybalanced": (False, True),
    "sizebalanced": (True, False),
    "fullysizebalanced": (True, True),
}
_LEVELS = {level.name.lower(): level for level in TrustLevel}
_NOT_EVALUATED = {
    "metadata": "metadata is not read",
    "url": "urls are not read",
    "unused": "only git annex unused can find that out",
    "inpreferreddir": "the directory is a special remote's setting",
    "mimetype": "content is not looked at",
    "mimeencoding": "content is not looked at",
}


class InvalidExpression(ValueError):
    """The expression cannot be evaluated. The message names the term and says why, for people."""


def load(text: str, *, groups: Set[str] = frozenset(), group_wanted: Mapping[str, str] | None = None) -> Expression:
    """The tree of the expression `text`, which belongs to a repository in the groups `groups`.

    `group_wanted` are the expressions of groups, as in group-preferred-content.log. ``standard`` and ``groupwanted``
    stand for the one expression that the repository's groups have, and for ``present`` if they have none or several.
    An empty text means ``anything``. An expression that is not stable (see `is_stable`) becomes ``nothing``.
    Raises InvalidExpression.
    """
    parser = _Parser(groups, group_wanted or {})
    expression = parser.parse(text)
    return expression if is_stable(expression) else Constant(False)


class _Parser:
    def __init__(self, groups: Set[str], group_wanted: Mapping[str, str]) -> None:
        self._groups = groups
        self._group_wanted = group_wanted
        self._group: str | None = None  # the group that the text belongs to, None for a repository's own expression
        self._depth = 0
        self._globs_cost = 0
        self._deepest = 0
        self._parsed: dict[str, tuple[int, Expression]] = {}  # texts of groups: how deep each is, and its tree

    def parse(self, text: str) -> Expression:
        if len(text) > EXPRESSION_MAX:
            raise InvalidExpression(
                f"the expression has {len(text)} characters, and may have {EXPRESSION_MAX}; shorten {shown(text)!r}"
            )
        words = [match[0] for match in _WORD.finditer(text)]
        if not words:
            return Constant(True)
        words.reverse()
        expression = self._sequence(words, text)
        if words:
            raise InvalidExpression(f"there is a ) without its ( in {shown(text)!r}")
        return expression

    def _sequence(self, words: list[str], text: str) -> Expression:
        """Parse terms up to the end, or up to a closing parenthesis, which is not consumed."""
        first = self._operand(words, text)
        others: list[tuple[bool, Expression]] = []
        while words and words[-1] != ")":
            both = words[-1] != "or"
            if words[-1] in ("and", "or"):
                words.pop()
            others.append((both, self._operand(words, text)))
        return Sequence(first, tuple(others)) if others else first

    def _operand(self, words: list[str], text: str) -> Expression:
        negated = False
        while words and words[-1] == "not":
            words.pop()
            negated = not negated
        if not words or words[-1] in ("and", "or", ")"):
            raise InvalidExpression(f"a term is missing in {shown(text)!r}, before {words[-1] if words else 'its end'}")
        word = words.pop()
        if word == "(":
            self._enter()
            expression = self._sequence(words, text)
            if not words:
                raise InvalidExpression(f"there is a ( without its ) in {shown(text)!r}")
            words.pop()
            self._depth -= 1
        else:
            expression = self._term(word)
        return Not(expression) if negated else expression

    def _enter(self, levels: int = 1) -> None:
        self._depth += levels
        self._deepest = max(self._deepest, self._depth)
        if self._depth > DEPTH:
            raise InvalidExpression(f"the expression is nested too deeply: {DEPTH} parentheses are allowed")

    def _term(self, word: str) -> Expression:
        if word in _PLAIN:
            return _PLAIN[word]
        if word == "standard":
            return self._standard()
        if word == "groupwanted":
            return self._groupwanted()
        name, _, value = word.partition("=")
        if name in _NOT_EVALUATED:
            raise InvalidExpression(f"{shown(word)} cannot be evaluated here: {_NOT_EVALUATED[name]}")
        if name not in _WITH_VALUE:
            raise InvalidExpression(f"{shown(word)} is not a term of preferred content")
        if not value:
            raise InvalidExpression(f"{name} needs a value: {name}=...")
        try:
            term = _with_value(name, value)
        except InvalidGlob as error:
            raise InvalidExpression(f"{shown(word)}: {error}") from error
        if isinstance(term, Include | Exclude):
            self._globs_cost += term.glob.cost
            if self._globs_cost > GLOBS_COST_MAX:
                raise InvalidExpression(
                    f"the globs up to {shown(word)} take too long to match; "
                    "use fewer globs, or fewer ? and [ between two stars"
                )
        return term

    def _standard(self) -> Expression:
        candidates = [group for group in STANDARD if group in self._groups]
        if len(candidates) != 1:
            return Present()
        return self._of_group(candidates[0], STANDARD[candidates[0]])

    def _groupwanted(self) -> Expression:
        if self._group is not None:
            raise InvalidExpression(f"groupwanted cannot be used in the expression of a group, {shown(self._group)}")
        candidates = [group for group in sorted(self._groups) if self._group_wanted.get(group)]
        if len(candidates) != 1:
            return Present()
        group = candidates[0]
        try:
            return self._of_group(group, self._group_wanted[group])
        except InvalidExpression as error:
            raise InvalidExpression(f"groupwanted of {shown(group)}: {error}") from error

    def _of_group(self, group: str, text: str) -> Expression:
        """The tree of a group's expression, which is parsed once."""
        if text not in self._parsed:
            outer, self._group = self._group, group
            deepest, self._deepest = self._deepest, self._depth
            expression = self.parse(text)
            self._parsed[text] = self._deepest - self._depth, expression
            self._group, self._deepest = outer, max(deepest, self._deepest)
            return expression
        depth, expression = self._parsed[text]
        self._enter(depth)
        self._depth -= depth
        return expression


_WITH_VALUE = {
    "include",
    "exclude",
    "copies",
    "lackingcopies",
    "approxlackingcopies",
    "inbackend",
    "inallgroup",
    "onlyingroup",
    "smallerthan",
    "largerthan",
    *_BALANCED,
}


def _with_value(name: str, value: str) -> Expression:
    match name:
        case "include":
            return Include(Glob(value))
        case "exclude":
            return Exclude(Glob(value))
        case "copies":
            return _copies(value)
        case "lackingcopies" | "approxlackingcopies":
            return LackingCopies(_number(name, value, value))
        case "inbackend":
            return InBackend(value)
        case "inallgroup":
            return InAllGroup(value)
        case "onlyingroup":
            return OnlyInGroup(value)
        case "smallerthan":
            return SmallerThan(_size(name, value))
        case "largerthan":
            return LargerThan(_size(name, value))
        case _:
            group, colon, number = value.partition(":")
            if not group:
                raise InvalidExpression(f"{shown(f'{name}={value}')} names no group")
            count = None if number == "lackingcopies" else _number(name, value, number) if colon else 1
            return Balanced(group, count, *_BALANCED[name])


def _copies(value: str) -> Copies:
    which, colon, number = value.rpartition(":")
    count = _number("copies", value, number)
    if not colon:
        return Copies(count)
    if not which or ":" in which:
        raise InvalidExpression(f"copies={shown(value)} does not have the form copies=GROUP:NUMBER")
    level = _LEVELS.get(which.removesuffix("+"))
    if level is None:
        return Copies(count, group=which)
    return Copies(count, level=level, or_higher=which.endswith("+"))


def _number(name: str, value: str, number: str) -> int:
    if not _NUMBER.fullmatch(number):
        raise InvalidExpression(f"{name}={shown(value)} has no valid number")
    return int(number)


def _size(name: str, value: str) -> int:
    match = _SIZE.fullmatch(value)
    unit = parse_size(f"1{match[2]}", -1) if match else -1
    if match is None or unit < 0:
        raise InvalidExpression(f"{name}={shown(value)} has no valid size, such as 100kb or 1.5GiB")
    number = match[1]
    return int(number) * unit if "." not in number else round(float(number) * unit)
