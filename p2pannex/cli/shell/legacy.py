"""Commands of p2pannex-shell that are older than the P2P protocol. Their result is the exit status.

Scripts still use them. Like `p2pannex.cli.shell.session`, this module imports what takes time to import.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from p2pannex.cli.log_lines import use
from p2pannex.cli.shell.command_line import CommandRefused, Given
from p2pannex.cli.shell.session import OPEN
from p2pannex.errors import RemoteError
from p2pannex.keys.key import InvalidKey, Key
from p2pannex.service import Service

PRESENT, ABSENT, UNKNOWN = 0, 1, 100
"""Exit statuses of inannex."""


def inannex(kind: str, directory: str, given: Given) -> int:
    """Report by the exit status whether the content of all keys is present."""

    async def check(service: Service) -> bool:
        return all([await service.check_present(key) for key in keys])

    keys = _keys(given)
    try:
        return PRESENT if trio.run(_with_store, kind, directory, check) else ABSENT
    except RemoteError as error:
        raise CommandRefused(str(error), UNKNOWN) from error


def dropkey(kind: str, directory: str, given: Given) -> int:
    """Remove the content of all keys. If one of them is not a valid key, nothing is removed."""

    async def remove(service: Service) -> bool:
        return all([(await service.remove(key)).ok for key in keys])

    if not given.force:
        raise CommandRefused("dropkey can cause data loss; use --force if you're sure you want to do this")
    keys = _keys(given)
    try:
        if trio.run(_with_store, kind, directory, remove):
            return 0
    except RemoteError as error:
        raise CommandRefused(str(error)) from error
    raise CommandRefused("content is locked")


def _keys(given: Given) -> list[Key]:
    try:
        return [Key.parse(os.fsencode(word)) for word in given.positional]
    except InvalidKey as error:
        raise CommandRefused(str(error)) from error


async def _with_store(kind: str, directory: str, do: Callable[[Service], Awaitable[bool]]) -> bool:
    use("p2pannex-shell")
    async with OPEN[kind](directory) as service:
        return await do(service)


COMMANDS = {"dropkey": dropkey, "inannex": inannex}
