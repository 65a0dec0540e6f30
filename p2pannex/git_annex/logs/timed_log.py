"""The newer format of logs: lines ``TIME NAME VALUE``, where NAME is a uuid or the name of a group.

    1317929189.157237s e605dca6-446a-11e0-8b2a-002170d25c55 100000000000

group-preferred-content.log, cluster.log, proxy.log and maxsize.log use it. Of the lines of a name the newest counts; if
several have the same time, the first of these. Lines that cannot be parsed are ignored.
"""

from __future__ import annotations

from p2pannex.git_annex.logs.clock import Clock, parse_clock


def parse_timed_log(text: bytes) -> dict[str, str]:
    """The value that counts for each name; it may be empty. Accepts any bytes."""
    newest: dict[str, tuple[Clock, str]] = {}
    for line in text.split(b"\n"):
        word, _, rest = line.removesuffix(b"\r").partition(b" ")
        time = parse_clock(word)
        name, _, value = rest.decode("utf-8", "surrogateescape").partition(" ")
        if time is not None and name and (name not in newest or newest[name][0] < time):
            newest[name] = (time, value.strip(" "))
    return {name: value for name, (_, value) in newest.items()}


def parse_group_wanted_log(text: bytes) -> dict[str, str]:
    """group-preferred-content.log: the expression of each group that has one."""
    return {group: expression for group, expression in parse_timed_log(text).items() if expression}
