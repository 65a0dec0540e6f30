"""Text from elsewhere, made safe for a terminal and for logs: the one way by which it gets there.

A server, a client, a file name or a special remote may contain what commands a terminal (escape sequences), what hides
or reorders text (zero-width and bidirectional characters), or line breaks that look like lines of our own. Each such
character becomes U+FFFD, or a space if it is white space. Everything else is left as it is, in every script.
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

_INVISIBLE = re.compile(
    # Letters and marks that are shown as nothing, so that ``str.isprintable`` lets them pass.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def safe(text: str) -> str:
    """`text` on one line, without characters that command a terminal or are not visible. White space is kept apart
    by one space each."""
    flat = "".join([" " if character.isspace() or character == "\0" else character for character in text])
    if not flat.isprintable():
        flat = "".join([character if character.isprintable() else REPLACEMENT for character in flat])
    return flat if flat.isascii() else _INVISIBLE.sub(REPLACEMENT, flat)


def safe_lines(text: str) -> str:
    """As `safe`, but line feeds are kept, and tabs become spaces: for text of several lines that is our own."""
    return "\n".join([safe(line) for line in text.split("\n")])


def safe_line(text: str) -> str:
    """As `safe`, with runs of white space as one space, and none at the ends: for messages."""
    return " ".join(safe(text).split())


def shortened(text: str, width: int) -> str:
    """The text in at most `width` characters. If it is longer, an ellipsis replaces its middle."""
    if len(text) <= width:
        return text
    right = width // 3
    return f"{text[: width - right - 1]}…{text[-right:]}"


__all__ = ["REPLACEMENT", "safe", "safe_line", "safe_lines", "shortened"]
