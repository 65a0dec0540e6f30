#!/usr/bin/env python3
"""Generates conversation.md from the state table in p2pannex.protocol.conversation.

``python protocol-spec/generate.py`` writes the file; with ``--check`` it writes nothing and exits 1 if the file is out
of date. This program contains nothing of the table itself: it only groups the states into diagrams and names the
section of the specification for each group.
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

GROUPS: dict[str, tuple[str, tuple[State, ...]]] = {
    "Opening": ("section 4", (S.AUTHENTICATION, S.AUTHENTICATION_ANSWER, S.GREETING, S.VERSION_ANSWER)),
    "CHECKPRESENT, REMOVE, GETTIMESTAMP": ("sections 5 and 6", (S.ANSWER, S.ANSWER_PLUS, S.TIMESTAMP_ANSWER)),
    "LOCKCONTENT": ("section 7", (S.LOCKING, S.LOCKED)),
    "GET": ("section 8", (S.GET_DATA, S.GET_BODY, S.GET_VALIDITY, S.GET_RECEIPT)),
    "PUT": ("section 9", (S.PUT_OFFER, S.PUT_REFUSED, S.PUT_DATA, S.PUT_BODY, S.PUT_VALIDITY, S.ANSWER_PLUS)),
    "NOTIFYCHANGE and CONNECT": ("section 10", (S.WATCHING, S.CONNECTED)),
}
"""One diagram per entry: the section that describes it, and its states in addition to IDLE and ENDED."""

INTRODUCTION = """\
# The conversation

<!-- Written by protocol-spec/generate.py from p2pannex/protocol/conversation.py. Do not edit. -->

Client and server are always in the same state. In each state one side may send; in `CONNECTED` both may, and in
`ENDED` neither. The tables below list the messages that a side may send in each state, and the state that follows each
message. Any other line from the client is a *bad line* (section 3.1).

The column "since" gives the protocol version that introduced a message. A message may be sent only if the negotiated
version is the same or higher.
"""

ENDS = """\
A conversation starts in `GREETING` if the transport has authenticated the client (ssh, stdio), and in `AUTHENTICATION`
otherwise. In `ENDED` neither side sends anything, and the server closes.

The client may close in {between}. If it closes in another state, its request is lost with the connection.
"""


def verb(message: type[Message]) -> str:
    return message.verb.decode()


def code(states: list[State]) -> str:
    names = [f"`{state.name}`" for state in states]
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def table_of(state: State) -> list[str]:
    """The section of one state."""
    lines = [f"### {state.name}", ""]
    if not TABLE[state]:
        return [*lines, "Neither side may send.", ""]
    senders = " and ".join(side.value for side in TABLE[state])
    if state in AFTER_BODY:
        lines += [body_rule(state), ""]
    lines += [f"Who may send: {senders}."]
    rows = [(side, message, following) for side, rules in TABLE[state].items() for message, following in rules.items()]
    if state in BETWEEN_REQUESTS and state is not S.IDLE:
        lines[-1] += " The same messages as in `IDLE`, except:"
        rows = [row for row in rows if TABLE[S.IDLE][row[0]].get(row[1]) is not row[2]]
    if rows:
        lines += ["", "| from | message | since | next state |", "|---|---|---|---|"]
        lines += [
            f"| {side.value} | {verb(message)} | {message.since} | `{following.name}` |"
            for side, message, following in rows
        ]
    if state in AFTER_BAD_LINE:
        text, following = AFTER_BAD_LINE[state]
        malformed = ", or `ERROR unknown command` if the line is malformed" if text == "unexpected command" else ""
        lines += ["", f"Reply to a bad line: `ERROR {text}`{malformed}. Next state: `{following.name}`."]
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
    announced = "The bytes that DATA announced. Next state after the last byte, or immediately if there are none:"
    return f"{announced} {', '.join(parts)}."


def diagram(states: tuple[State, ...]) -> list[str]:
    """A mermaid state diagram of one group of requests. It omits ERROR, which is possible in nearly every state."""
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
    drawn = {state for _, states in GROUPS.values() for state in states} | {S.IDLE, S.ENDED}
    assert drawn == set(TABLE), f"no diagram contains {set(TABLE) - drawn}"
    between = sorted(BETWEEN_REQUESTS, key=list(State).index)
    lines = [INTRODUCTION, ENDS.format(between=code(between)), "## Messages and versions", ""]
    lines += ["| since version | messages |", "|---|---|"]
    for version in range(LATEST_VERSION + 1):
        lines.append(f"| {version} | {', '.join(verb(m) for m in MESSAGES.values() if m.since == version)} |")
    exempt = sorted(ANY_VERSION, key=list(State).index)
    lines += [
        "",
        f"Exception: in {code(exempt)} a server accepts and sends messages of any version (section 11).",
        "Clients nevertheless do not send a message before its version.",
        "",
        "## Between requests, and the end of a conversation",
        "",
        *table_of(S.IDLE),
        *table_of(S.ENDED),
    ]
    described = {S.IDLE, S.ENDED}
    for name, (section, states) in GROUPS.items():
        lines += [
            f"## {name}",
            "",
            f"See {section}. In the diagram, C is the client and S the server; ERROR is not shown.",
            "",
        ]
        lines += diagram(states)
        for state in states:
            if state not in described:
                lines += table_of(state)
                described.add(state)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    text = document()
    if arguments == ["--check"]:
        if TARGET.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{TARGET} is out of date: run python protocol-spec/generate.py\n")
            return 1
    elif not arguments:
        TARGET.write_text(text, encoding="utf-8")
    else:
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
