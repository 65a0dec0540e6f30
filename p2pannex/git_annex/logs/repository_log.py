"""The older format of logs about repositories: lines ``UUID VALUE timestamp=TIMEs``.

    e605dca6-446a-11e0-8b2a-002170d25c55 usb disk timestamp=1317929330.769997s

uuid.log, trust.log, group.log, preferred-content.log and required-content.log use it. The value may contain spaces, or
be empty. The first versions of git-annex wrote lines without a time; these are older than any other. Of the lines of a
uuid the newest counts; if several have the same time, the first of these. Lines that cannot be parsed are ignored.
"""

from __future__ import annotations

from p2pannex.git_annex.logs.clock import Clock, parse_clock

_UNKNOWN: Clock = (-1, "")
_TIMESTAMP = " timestamp="


def parse_repository_log(text: bytes) -> dict[str, str]:
    """The value that counts for each uuid. Accepts any bytes."""
    newest: dict[str, tuple[Clock, str]] = {}
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        uuid, _, rest = line.removesuffix("\r").partition(" ")
        value, found, word = (" " + rest).rpartition(_TIMESTAMP)
        time = parse_clock(word.encode("utf-8", "surrogateescape")) if found else _UNKNOWN
        if not uuid or time is None:
            continue
        if uuid not in newest or newest[uuid][0] < time:
            newest[uuid] = (time, (value if found else rest).strip(" "))
    return {uuid: value for uuid, (_, value) in newest.items()}


def parse_wanted_log(text: bytes) -> dict[str, str]:
    """preferred-content.log or required-content.log: the expression of each repository that has one."""
    return {uuid: expression for uuid, expression in parse_repository_log(text).items() if expression}
