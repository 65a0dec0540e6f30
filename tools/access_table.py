#!/usr/bin/env python3
"""Writes the table of restrictions into docs/reference/access.md, from p2pannex/restrictions.py.

``python tools/access_table.py`` writes the page; with ``--check`` it writes nothing and exits 1 if the page is out of
date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from p2pannex.restrictions import (
    APPEND_ONLY,
    AUTOINIT,
    COMMANDS,
    DIRECTORY,
    OTHER,
    REQUESTS,
    RESTRICTIONS,
    VARIABLES,
    Restrictions,
)

PAGE = Path(__file__).parent.parent / "docs/reference/access.md"
START = "## Requests\n"

NOTES = {
    AUTOINIT: "`configlist` that initialises the repository",
    OTHER: "other commands for git-shell",
}


def cell(action: str, restriction: str) -> str:
    if Restrictions(restriction).refusing(action):
        return "**refused**"
    if action == "git-receive-pack" and restriction == APPEND_ONLY:
        return "branches only grow"
    return "in it" if restriction == DIRECTORY and action in COMMANDS else "yes"


def rows(actions: dict[str, tuple[str, ...]], columns: tuple[str, ...]) -> list[str]:
    heads = [f"`{VARIABLES[name].removeprefix('GIT_ANNEX_SHELL_')}`" for name in columns]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(columns)]
    for action in actions:
        shown = NOTES.get(action, f"`{action}`")
        lines.append(f"| {shown} | {' | '.join(cell(action, name) for name in columns)} |")
    return [*lines, ""]


def text() -> str:
    requests = rows(REQUESTS, tuple(name for name in RESTRICTIONS if name != DIRECTORY))
    return "\n".join([START, *requests, "## Commands of p2pannex-shell", "", *rows(COMMANDS, RESTRICTIONS)])


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    wanted = page[: page.index(START)] + text()
    if arguments == ["--check"]:
        if page != wanted:
            sys.stderr.write(f"{PAGE} is out of date: run python tools/access_table.py\n")
            return 1
    elif not arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    else:
        sys.stderr.write("usage: access_table.py [--check]\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
