"""trust.log: how far each repository is trusted to keep the content that it has.

``1`` is trusted, ``0`` untrusted, ``X`` dead, ``?`` semitrusted. A repository without a line is semitrusted.
"""

from __future__ import annotations

import enum

from p2pannex.git_annex.logs.repository_log import parse_repository_log


class TrustLevel(enum.IntEnum):
    """How far a repository is trusted. Levels can be compared: a trusted one is greater than a semitrusted one."""

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
    """The level of each repository that has a line. Accepts any bytes."""
    logged = parse_repository_log(text)
    return {uuid: _LEVELS[value] for uuid, value in logged.items() if value in _LEVELS}
