"""The globs of ``include=`` and ``exclude=``: case-sensitive, and ``*`` and ``?`` also match ``/`` and leading dots.

``[ab]``, ``[a-c]``, ``[!a]``, ``[^a]`` and POSIX classes such as ``[[:digit:]]`` match one character. Backslashes and
braces have no special meaning. A ``[`` without its ``]`` is an error here; git-annex hangs on it.
"""

from __future__ import annotations

import re

import attrs

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}

_CLASS = re.compile(r"\[:([a-z]+):\]")


class InvalidGlob(ValueError):
    """The text is not a valid glob. The message says why, for people."""


@attrs.frozen
class Glob:
    """A glob that is matched against whole paths. InvalidGlob if `text` is not a valid glob."""

    text: str
    _pattern: re.Pattern[str] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            object.__setattr__(self, "_pattern", re.compile(_regex(self.text), re.DOTALL))
        except re.error as error:
            raise InvalidGlob(f"the glob {self.text!r} is invalid: {error}") from error

    def matches(self, path: str) -> bool:
        return self._pattern.fullmatch(path) is not None


def _regex(glob: str) -> str:
    regex: list[str] = []
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            if regex[-1:] != [".*"]:
                regex.append(".*")
        elif character == "?":
            regex.append(".")
        elif character == "[":
            end, inside = _bracket(glob, position)
            regex.append(inside)
            position = end
        else:
            regex.append(re.escape(character))
    return "".join(regex)


def _bracket(glob: str, position: int) -> tuple[int, str]:
    """The regex of the bracket expression whose ``[`` is just before `position`, after the position of its end."""
    negation = ""
    if glob[position : position + 1] in ("!", "^"):
        negation, position = "^", position + 1
    parts: list[str] = []
    first = position
    while position < len(glob):
        if glob[position] == "]" and position > first:
            return position + 1, f"[{negation}{''.join(parts)}]"
        posix = _CLASS.match(glob, position)
        if posix is not None:
            if posix[1] not in _CLASSES:
                raise InvalidGlob(f"the glob {glob!r} has an unknown class [:{posix[1]}:]")
            parts.append(_CLASSES[posix[1]])
            position = posix.end()
        elif glob.startswith("]-", position):
            raise InvalidGlob(f"the glob {glob!r} has a range that starts with ]")
        elif glob[position + 1 : position + 2] == "-" and glob[position + 2 : position + 3] not in ("", "]"):
            parts.append(f"{re.escape(glob[position])}-{re.escape(glob[position + 2])}")
            position += 3
        else:
            parts.append(re.escape(glob[position]))
            position += 1
    raise InvalidGlob(f"the glob {glob!r} has a [ without its ]")
