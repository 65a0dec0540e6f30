"""Preferred content: which repositories want a content, in git-annex's language of expressions.

    load(text) -> Expression        the tree, or InvalidExpression, which names the term
    wants(expression, facts, uuid)  whether the repository wants the content
    wants_to_keep(...)              whether it would still want it, had it been dropped

The rooms: `terms` and `glob` are the tree, `parser` makes it of text, `standard` has git-annex's expressions of groups,
`facts` is what is known, `judge` decides, `balance` chooses among the repositories of a group. All of it is pure.
"""

from __future__ import annotations

from p2pannex.cluster.preferred.facts import Facts
from p2pannex.cluster.preferred.judge import wants, wants_to_keep
from p2pannex.cluster.preferred.parser import InvalidExpression, load
from p2pannex.cluster.preferred.terms import Expression

__all__ = ["Expression", "Facts", "InvalidExpression", "load", "wants", "wants_to_keep"]
