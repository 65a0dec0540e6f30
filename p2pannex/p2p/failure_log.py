"""Logs why requests failed, so that no client can fill the log.

Reasons may contain text from the client (keys, file names), so a client can make as many different ones as it likes.
A reason is logged once, whichever clients it occurs to, until it has not occurred for a while. Each client may cause
`MOST_LINES` such lines an hour. A client is what its connections have in common: a token, or an address.
"""

from __future__ import annotations

import logging

import trio
from attrs import define

from p2pannex.terminal import safe_line

log = logging.getLogger(__name__)

SAME_FAILURE = 3600.0
"""Seconds after which the reason of a failed request is logged again, if no request failed for it meanwhile."""

MOST_LINES = 20
"""Reasons that are logged for one client in `HOUR`."""

HOUR = 3600.0

MOST_REASONS = 100
"""How many reasons are remembered: those that occurred last. One that was forgotten is logged once more."""

MOST_CLIENTS = 1000
"""How many clients are remembered: those with failures that were logged first are forgotten first."""


@define
class _Lines:
    """The lines that one client has caused since `began`."""

    began: float
    count: int = 0


class FailureLog:
    """The reasons of failed requests of one server."""

    def __init__(self) -> None:
        self._reasons: dict[str, float] = {}
        """The reasons that were logged, and when they last occurred, in that order."""
        self._clients: dict[str, _Lines] = {}

    def report(self, client: str, name: str, reason: str) -> None:
        """Log the reason why a request of `client` failed, or was refused. `name` is the connection's, for the log."""
        now = trio.current_time()
        last = self._reasons.pop(reason, None)
        if last is None or now - last > SAME_FAILURE:
            lines = self._lines_of(client, now)
            lines.count += 1
            if lines.count > MOST_LINES:  # not remembered, so that it does not displace the reasons of other clients
                if lines.count == MOST_LINES + 1:
                    log.warning("%s: more requests failed; the reasons are not logged for an hour", name)
                return
            log.warning("%s: a request failed: %s", name, safe_line(reason))
        self._reasons[reason] = now
        if len(self._reasons) > MOST_REASONS:
            del self._reasons[next(iter(self._reasons))]

    def _lines_of(self, client: str, now: float) -> _Lines:
        lines = self._clients.get(client)
        if lines is None or now - lines.began > HOUR:
            self._clients.pop(client, None)
            lines = self._clients[client] = _Lines(now)
            if len(self._clients) > MOST_CLIENTS:
                del self._clients[next(iter(self._clients))]
        return lines


__all__ = ["MOST_LINES", "MOST_REASONS", "SAME_FAILURE", "FailureLog"]
