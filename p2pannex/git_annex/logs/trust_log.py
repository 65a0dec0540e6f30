"""How far each repository is trusted to keep what it has: trust.log.

``1`` is trusted, ``0`` untrusted, ``X`` dead, ``?`` semitrusted, and so is every repository that is not mentioned.
"""

from __future__ import annotations

import enum

from p2pannex.git_annex.logs.repository_log import parse_repository_log


class TrustLevel(enum.IntEnum):
    """Comparable: trusted is more than semitrusted."""

    DEAD = 0
    UNTRUSTED = 1
    SEMITRUSTED = 2
    TRUSTED = 3


_LEVELS = {
    "1": TrustLevel.TRUSTED,
    "0": TrustLevel.UNTRUSTED,
    "X": TrustLevel.DEAD,
    "?": TrustLevel.SEMITRUSTED,
}


def parse_trust_log(text: bytes) -> dict[str, TrustLevel]:
    """The level of each repository that the log mentions. Any bytes are a log."""
    logged = parse_repository_log(text)
    return {uuid: _LEVELS[value] for uuid, value in logged.items() if value in _LEVELS}
