"""Who has a content, as the branch remembers it: a log of lines ``TIME STATUS UUID``.

    1795255250.5087786s 1 d2d5a6a4-7f4f-4a4f-9d2b-0a8d8f3f9d3e

TIME is in seconds since 1970, or whatever else a vector clock counts, with as many decimals as its writer likes; it is
compared exactly, never as a float. STATUS is 1 (present), 0 (not present) or X (dead, not expected back). Of the lines
of a uuid the newest counts, and of several as new, the first. Lines that are not understood mean nothing, and are kept.

Repositories write to their own copies of a log and merge them later, by keeping the lines of all. So a log may have
lines in any order, twice, and lines that newer ones have made obsolete: `compacted` leaves those out.
"""

from __future__ import annotations

import attrs

from p2pannex.git_annex.logs.clock import Clock, clock_at, format_clock, parse_clock

PRESENT, ABSENT, DEAD = b"1", b"0", b"X"


@attrs.frozen
class LocationLine:
    """One line that was understood. `line` is how it was written, without its end."""

    time: Clock
    status: bytes
    uuid: str
    line: bytes


@attrs.frozen
class LocationLog:
    """A log, read: the line that counts for each uuid, and the lines that were not understood."""

    newest: dict[str, LocationLine]
    unknown: list[bytes]

    @classmethod
    def parse(cls, text: bytes) -> LocationLog:
        """Any bytes are a log. Of lines that were not understood, one of each is kept."""
        newest: dict[str, LocationLine] = {}
        unknown: dict[bytes, None] = {}
        for line in text.split(b"\n"):
            parsed = parse_line(line)
            if parsed is None:
                if line:
                    unknown[line] = None
            elif parsed.uuid not in newest or newest[parsed.uuid].time < parsed.time:
                newest[parsed.uuid] = parsed
        return cls(newest, list(unknown))

    def present(self) -> set[str]:
        """The uuids of the repositories that have the content, as far as was logged."""
        return {line.uuid for line in self.newest.values() if line.status == PRESENT}

    def latest(self) -> Clock | None:
        """The greatest time in the log; None when it has none."""
        return max((line.time for line in self.newest.values()), default=None)

    def compacted(self) -> bytes:
        """The log without obsolete lines."""
        lines = [line.line for line in self.newest.values()] + self.unknown
        return b"".join([line + b"\n" for line in lines])

    def news(self, uuid: str, *, present: bool, now: int) -> LocationLine | None:
        """The line that says whether `uuid` has the content; None when that is what the log says already.

        `now` is in nanoseconds since 1970. The line's time is later than any in the log, whatever the clocks of those
        who wrote it: otherwise the line would not count.
        """
        status = PRESENT if present else ABSENT
        old = self.newest.get(uuid)
        if old is not None and old.status == status:
            return None
        time = clock_at(now)
        latest = self.latest()
        if latest is not None and latest >= time:
            time = _just_after(latest)
        line = b"%bs %b %b" % (format_clock(time), status, uuid.encode("utf-8", "surrogateescape"))
        return LocationLine(time, status, uuid, line)

    def with_line(self, line: LocationLine) -> LocationLog:
        """The log with this line, which is news."""
        return LocationLog({**self.newest, line.uuid: line}, self.unknown)

    def changed(self, uuid: str, *, present: bool, now: int) -> bytes | None:
        """The log with its `news`; None when there are none."""
        line = self.news(uuid, present=present, now=now)
        return None if line is None else self.with_line(line).compacted()


def parse_line(line: bytes) -> LocationLine | None:
    """The line without its end; None when it cannot be understood."""
    words = line.split(b" ", 2)
    if len(words) != 3 or words[1] not in (PRESENT, ABSENT, DEAD):
        return None
    time = parse_clock(words[0])
    uuid = words[2].removesuffix(b"\r")
    if time is None or not uuid:
        return None
    return LocationLine(time, words[1], uuid.decode("utf-8", "surrogateescape"), line)


def _just_after(time: Clock) -> Clock:
    whole, decimals = time
    return clock_at(whole * 10**9 + int(decimals[:9].ljust(9, "0")) + 1)


def merge_lines(ours: bytes, theirs: bytes) -> bytes:
    """Both versions of a log of any kind: our text, then the lines of theirs that it has not. What is in the log
    twice stays so."""
    known = set(ours.split(b"\n"))
    missing: dict[bytes, None] = {line: None for line in theirs.split(b"\n") if line and line not in known}
    if not missing:
        return ours
    if ours and not ours.endswith(b"\n"):
        ours += b"\n"
    return ours + b"".join([line + b"\n" for line in missing])


def merge_location_logs(ours: bytes, theirs: bytes) -> bytes:
    """Both versions of a location log, without the lines that this makes obsolete.

    It is `ours`, byte for byte, when theirs has nothing that ours has not or knows better.
    """
    log = LocationLog.parse(merge_lines(ours, theirs))
    return ours if log == LocationLog.parse(ours) else log.compacted()
