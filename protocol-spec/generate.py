#!/usr/bin/env python3
"""Writes conversation.md from the one table of p2pannex.protocol.conversation.

``python protocol-spec/generate.py`` rewrites it; with ``--check`` it fails where it would change. Nothing of the table
is told here a second time: only how states are grouped for the diagrams, and which sections say more.
"""

from __future__ import annotations

import sys
from pathlib import Path

from p2pannex.protocol.conversation import (
    AFTER_BAD_LINE,
    AFTER_BODY,
    ANY_VERSION,
    BETWEEN_REQUESTS,
    TABLE,
    Rules,
    Side,
    State,
)
from p2pannex.protocol.messages import LATEST_VERSION, MESSAGES, Message

TARGET = Path(__file__).with_name("conversation.md")
S = State

FAMILIES: dict[str, tuple[str, tuple[State, ...]]] = {
    "Opening": ("4", (S.AUTHENTICATION, S.AUTHENTICATION_ANSWER, S.GREETING, S.VERSION_ANSWER)),
    "CHECKPRESENT, REMOVE, GETTIMESTAMP": ("5 and 6", (S.ANSWER, S.ANSWER_PLUS, S.TIMESTAMP_ANSWER)),
    "LOCKCONTENT": ("7", (S.LOCKING, S.LOCKED)),
    "GET": ("8", (S.GET_DATA, S.GET_BODY, S.GET_VALIDITY, S.GET_RECEIPT)),
    "PUT": ("9", (S.PUT_OFFER, S.PUT_REFUSED, S.PUT_DATA, S.PUT_BODY, S.PUT_VALIDITY, S.ANSWER_PLUS)),
    "NOTIFYCHANGE and CONNECT": ("10", (S.WATCHING, S.CONNECTED)),
}
"""A diagram each: the section that says more, and its states besides IDLE and ENDED."""

INTRODUCTION = """\
# The conversation

<!-- Written by protocol-spec/generate.py from p2pannex/protocol/conversation.py. Do not edit. -->

Client and server are always in the same state. In each state it is one side's turn (in `CONNECTED` both sides'), and
these are the messages that it may send, with the state that follows. Anything else is a bad line. A message that came
with a later version than 0 may be sent only where that version, or a later one, was agreed upon.
"""

ENDS = """\
A conversation begins at `GREETING` where the transport has authenticated the client (ssh, stdio), and otherwise at
`AUTHENTICATION`. At `ENDED` nothing more is said, and the server closes.

The client may close at {between}; anywhere else its request is lost with the connection.
"""


def verb(message: type[Message]) -> str:
    return message.verb.decode()


def code(states: list[State]) -> str:
    return " or ".join(f"`{state.name}`" for state in states)


def table_of(state: State) -> list[str]:
    """The section of one state."""
    lines = [f"### {state.name}", ""]
    if not TABLE[state]:
        return [*lines, "Nobody's turn.", ""]
    turns = " and ".join(side.value for side in TABLE[state])
    if state in AFTER_BODY:
        lines += [body_rule(state), ""]
    lines += [f"Turn: {turns}."]
    rows = [(side, message, following) for side, rules in TABLE[state].items() for message, following in rules.items()]
    if state in BETWEEN_REQUESTS and state is not S.IDLE:
        lines[-1] += " As at `IDLE`, but for:"
        rows = [row for row in rows if TABLE[S.IDLE][row[0]].get(row[1]) is not row[2]]
    if rows:
        lines += ["", "| from | message | since | next state |", "|---|---|---|---|"]
        lines += [
            f"| {side.value} | {verb(message)} | {message.since} | `{following.name}` |"
            for side, message, following in rows
        ]
    if state in AFTER_BAD_LINE:
        text, following = AFTER_BAD_LINE[state]
        unknown = ", or `ERROR unknown command` if it is no message at all" if text == "unexpected command" else ""
        lines += ["", f"A bad line from the client is answered with `ERROR {text}`{unknown}. Then: `{following.name}`."]
    return [*lines, ""]


def span(since: int, until: int) -> str:
    return f"version {since}" if since == until else f"versions {since} to {until}"


def body_rule(state: State) -> str:
    after = AFTER_BODY[state]
    parts = []
    for index, (since, following) in enumerate(after):
        until = after[index + 1][0] - 1 if index + 1 < len(after) else LATEST_VERSION
        versions = "" if len(after) == 1 else f" at {span(since, until)}"
        parts.append(f"`{following.name}`{versions}")
    return f"The bytes that DATA announced. After the last of them, at once where there are none: {', '.join(parts)}."


def diagram(states: tuple[State, ...]) -> list[str]:
    """A mermaid state diagram of one family of requests. ERRORs, which every state has, are left to the tables."""
    lines = ["```mermaid", "stateDiagram-v2"]
    arrows: dict[tuple[State, State], list[str]] = {}

    def draw(state: State, side: Side, rules: Rules, only: tuple[State, ...] | None = None) -> None:
        for message, following in rules.items():
            if verb(message) != "ERROR" and (only is None or following in only):
                arrows.setdefault((state, following), []).append(f"{side.value[0].upper()} {verb(message)}")

    drawn = tuple(state for state in states if state not in BETWEEN_REQUESTS)
    entered = {following for state in drawn for rules in TABLE[state].values() for following in rules.values()}
    entered |= {following for state in states if state in AFTER_BODY for _, following in AFTER_BODY[state]}
    first = tuple(state for state in drawn if state not in entered or state is S.CONNECTED)
    draw(S.IDLE, Side.CLIENT, TABLE[S.IDLE][Side.CLIENT], first)
    for state in drawn:
        for side, rules in TABLE[state].items():
            draw(state, side, rules)
        if state in AFTER_BODY and state is not S.CONNECTED:
            for index, (since, following) in enumerate(AFTER_BODY[state]):
                later = AFTER_BODY[state][index + 1 :]
                label = f"last byte, {span(since, later[0][0] - 1 if later else LATEST_VERSION)}"
                arrows.setdefault((state, following), []).append(label)
    for (state, following), labels in arrows.items():
        lines.append(f"    {state.name} --> {following.name}: {' / '.join(labels)}")
    return [*lines, "```", ""]


def document() -> str:
    drawn = {state for _, states in FAMILIES.values() for state in states} | {S.IDLE, S.ENDED}
    assert drawn == set(TABLE), f"in no diagram: {set(TABLE) - drawn}"
    between = sorted(BETWEEN_REQUESTS, key=list(State).index)
    lines = [INTRODUCTION, ENDS.format(between=code(between)), "## Messages and versions", ""]
    lines += ["| since version | messages |", "|---|---|"]
    for version in range(LATEST_VERSION + 1):
        lines.append(f"| {version} | {', '.join(verb(m) for m in MESSAGES.values() if m.since == version)} |")
    exempt = sorted(ANY_VERSION, key=list(State).index)
    lines += [
        "",
        f"At {code(exempt)} a server takes, and answers, messages of any version: a request explains itself.",
        "Clients do not send them before their version all the same.",
        "",
        "## Between requests, and the end",
        "",
        *table_of(S.IDLE),
        *table_of(S.ENDED),
    ]
    told = {S.IDLE, S.ENDED}
    for name, (section, states) in FAMILIES.items():
        lines += [f"## {name}", "", f"Section {section}. C is the client, S the server; ERROR is not drawn.", ""]
        lines += diagram(states)
        for state in states:
            if state not in told:
                lines += table_of(state)
                told.add(state)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    text = document()
    if arguments == ["--check"]:
        if TARGET.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{TARGET} is stale: run python protocol-spec/generate.py\n")
            return 1
    elif not arguments:
        TARGET.write_text(text, encoding="utf-8")
    else:
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
