"""Preferred content: which repositories want a content, by git-annex's preferred content expressions.

    load(text) -> Expression        the tree of an expression; InvalidExpression names the term
    wants(expression, facts, uuid)  whether the repository wants the content
    wants_to_keep(...)              whether it would want the content again after dropping it

`terms` and `glob` are the nodes of the tree, `parser` makes a tree from text, `standard` has the expressions of
git-annex's standard groups, `facts` has what expressions are evaluated by, `judge` evaluates a tree, and `balance`
chooses among the repositories of a group. None of these modules does any input or output.
"""

from __future__ import annotations

from p2pannex.cluster.preferred.facts import Facts
from p2pannex.cluster.preferred.judge import wants, wants_to_keep
from p2pannex.cluster.preferred.parser import InvalidExpression, load
from p2pannex.cluster.preferred.terms import Expression

__all__ = ["Expression", "Facts", "InvalidExpression", "load", "wants", "wants_to_keep"]
