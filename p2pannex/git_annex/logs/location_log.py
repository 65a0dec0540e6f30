"""Location logs: which repositories have the content of a key. Each key has a log of lines ``TIME STATUS UUID``.

    1795255250.5087786s 1 d2d5a6a4-7f4f-4a4f-9d2b-0a8d8f3f9d3e

TIME is in seconds since 1970, or in the units of another vector clock. It may have any number of decimals, and is
compared exactly, never as a float. STATUS is 1 (present), 0 (not present) or X (dead: not expected to come back). Of
the lines of a uuid the newest counts; if several have the same time, the first of these. Lines that cannot be parsed
have no effect, and are kept.

Each repository writes to its own copy of a log. Copies are merged later by keeping the lines of all. So lines may be in
any order, may be there twice, or may be obsolete because of newer ones. `compacted` leaves obsolete lines out.
"""

from __future__ import annotations

import attrs

from p2pannex.git_annex.logs.clock import Clock, clock_at, format_clock, parse_clock

PRESENT, ABSENT, DEAD = b"1", b"0", b"X"


@attrs.frozen
class LocationLine:
    """One parsed line. `line` is its text, without the newline."""

    time: Clock
    status: bytes
    uuid: str
    line: bytes


@attrs.frozen
class LocationLog:
    """A parsed log: the line that counts for each uuid, and the lines that could not be parsed."""

    newest: dict[str, LocationLine]
    unknown: list[bytes]

    @classmethod
    def parse(cls, text: bytes) -> LocationLog:
        """Parse a log. Never fails: lines that cannot be parsed are kept in `unknown`, each once."""
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
        """The uuids of the repositories that have the content, according to the log."""
        return {line.uuid for line in self.newest.values() if line.status == PRESENT}

    def latest(self) -> Clock | None:
        """The greatest time in the log; None if the log is empty."""
        return max((line.time for line in self.newest.values()), default=None)

    def compacted(self) -> bytes:
        """The log without obsolete lines."""
        lines = [line.line for line in self.newest.values()] + self.unknown
        return b"".join([line + b"\n" for line in lines])

    def news(self, uuid: str, *, present: bool, now: int) -> LocationLine | None:
        """The line to add if `uuid` now has the content (`present`) or not; None if the log already has that status.

        `now` is in nanoseconds since 1970. The line's time is made later than any in the log, even if the clocks of
        other repositories are ahead: otherwise the line would not count.
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
        """The log with this line added, which `news` returned."""
        return LocationLog({**self.newest, line.uuid: line}, self.unknown)

    def changed(self, uuid: str, *, present: bool, now: int) -> bytes | None:
        """The text of the log with the line of `news` added; None if `news` returns None."""
        line = self.news(uuid, present=present, now=now)
        return None if line is None else self.with_line(line).compacted()


def parse_line(line: bytes) -> LocationLine | None:
    """Parse a line without its newline. None if it is not a line of a location log."""
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
    """Merge two versions of a log of any kind: `ours`, then the lines of `theirs` that `ours` lacks.

    Lines that `ours` has twice stay there twice.
    """
    known = set(ours.split(b"\n"))
    missing: dict[bytes, None] = {line: None for line in theirs.split(b"\n") if line and line not in known}
    if not missing:
        return ours
    if ours and not ours.endswith(b"\n"):
        ours += b"\n"
    return ours + b"".join([line + b"\n" for line in missing])


def merge_location_logs(ours: bytes, theirs: bytes) -> bytes:
    """Merge two versions of a location log, and leave out lines that become obsolete by it.

    Returns `ours` unchanged if `theirs` has nothing that is new or newer.
    """
    log = LocationLog.parse(merge_lines(ours, theirs))
    return ours if log == LocationLog.parse(ours) else log.compacted()
