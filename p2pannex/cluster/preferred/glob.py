"""The globs of ``include=`` and ``exclude=``: case-sensitive, and ``*`` and ``?`` also match ``/`` and leading dots.

``[ab]``, ``[a-c]``, ``[!a]``, ``[^a]`` and POSIX classes such as ``[[:digit:]]`` match one character. Backslashes and
braces have no special meaning. A ``[`` without its ``]`` is an error here; git-annex hangs on it.

Matching never goes back. A glob is divided at its stars into segments, each of which matches a fixed number of
characters. The first segment must match at the start of the path, the last one at its end. Each of the others is
searched for, from left to right, and the first place where it matches is the right one: it leaves the most characters
for the segments after it. So the time is at most the length of the path times `Glob.cost`.
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


SHOWN = 100
"""Characters of an expression that errors show."""


def shown(text: str) -> str:
    """The text for errors; of a long one, its start."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@attrs.frozen
class Glob:
    """A glob that is matched against whole paths. InvalidGlob if `text` is not a valid glob."""

    text: str
    _first: re.Pattern[str] = attrs.field(init=False, eq=False, repr=False)
    _middle: tuple[str | re.Pattern[str], ...] = attrs.field(init=False, eq=False, repr=False)
    _last: re.Pattern[str] | None = attrs.field(init=False, eq=False, repr=False)
    _last_length: int = attrs.field(init=False, eq=False, repr=False)
    cost: int = attrs.field(init=False, eq=False, repr=False)
    """Characters to compare, at most, for each character of the path. Segments of ordinary characters count as one in
    all, because `str.find` takes linear time."""

    def __attrs_post_init__(self) -> None:
        first, *rest = _segments(self.text)
        last = rest.pop() if rest else None
        middle = [segment for segment in rest if segment.length]
        try:
            self._set("_first", first.compiled())
            self._set(
                "_middle", tuple(text if (text := each.literal) is not None else each.compiled() for each in middle)
            )
            self._set("_last", None if last is None else last.compiled())
        except re.error as error:
            raise InvalidGlob(f"the glob {shown(self.text)!r} is invalid: {error}") from error
        self._set("_last_length", 0 if last is None else last.length)
        self._set("cost", 1 + sum(each.length for each in middle if each.literal is None))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def matches(self, path: str) -> bool:
        if self._last is None:
            return self._first.fullmatch(path) is not None
        start = self._first.match(path)
        end = len(path) - self._last_length
        if start is None or end < start.end():
            return False
        position = start.end()
        for segment in self._middle:
            if isinstance(segment, str):
                found = path.find(segment, position, end)
                if found < 0:
                    return False
                position = found + len(segment)
            else:
                match = segment.search(path, position, end)
                if match is None:
                    return False
                position = match.end()
        return self._last.fullmatch(path, end) is not None


@attrs.define
class _Segment:
    """What is between two stars: a regex for each character."""

    regexes: list[str] = attrs.field(factory=list)
    characters: list[str] = attrs.field(factory=list)
    """The ordinary characters among them."""

    @property
    def length(self) -> int:
        return len(self.regexes)

    @property
    def literal(self) -> str | None:
        """The text of the segment, if all of its characters are ordinary ones."""
        return "".join(self.characters) if len(self.characters) == len(self.regexes) else None

    def compiled(self) -> re.Pattern[str]:
        return re.compile("".join(self.regexes), re.DOTALL)


def _segments(glob: str) -> list[_Segment]:
    segments = [_Segment()]
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            segments.append(_Segment())
        elif character == "?":
            segments[-1].regexes.append(".")
        elif character == "[":
            position, inside = _bracket(glob, position)
            segments[-1].regexes.append(inside)
        else:
            segments[-1].regexes.append(re.escape(character))
            segments[-1].characters.append(character)
    return segments


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
                raise InvalidGlob(f"the glob {shown(glob)!r} has an unknown class [:{posix[1]}:]")
            parts.append(_CLASSES[posix[1]])
            position = posix.end()
        elif glob.startswith("]-", position):
            raise InvalidGlob(f"the glob {shown(glob)!r} has a range that starts with ]")
        elif glob[position + 1 : position + 2] == "-" and glob[position + 2 : position + 3] not in ("", "]"):
            parts.append(f"{re.escape(glob[position])}-{re.escape(glob[position + 2])}")
            position += 3
        else:
            parts.append(re.escape(glob[position]))
            position += 1
    raise InvalidGlob(f"the glob {shown(glob)!r} has a [ without its ]")
