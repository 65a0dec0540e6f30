"""The steps that transfers have in common: counting attempts, ending a download or an upload, error texts."""

from __future__ import annotations

import trio

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key, Verifier
from p2pannex.service import Download, NotStored, Service, Stored, Upload
from p2pannex.transports.pump import SMALL_BODY

ATTEMPTS = 3
"""A transfer fails when it has lost this many connections."""


class Attempts:
    """Counts lost connections. There are further attempts only if a transfer has begun over one of them."""

    def __init__(self, attempts: int) -> None:
        self._left = attempts
        self.began = False

    def lost(self, error: ConnectionLost) -> None:
        """Raise the error, unless another attempt is to be made."""
        self._left -= 1
        if not self.began or self._left <= 0:
            raise error


async def finish_download(download: Download, *, received: bool) -> None:
    try:
        await download.finish(received)
    except ConnectionLost:
        pass  # the whole content has arrived already


async def end_upload(upload: Upload, error: RemoteError) -> Stored:
    """End an upload without sending bytes: with an empty body and INVALID (protocol-spec section 9).

    No other way keeps the connection open. If the service has kept all of the content from an earlier upload, it stores
    the content now; otherwise `error` is raised.
    """
    await upload.begin(0)
    outcome = await upload.finish(False)
    if isinstance(outcome, Stored):
        return outcome
    raise error


def name_of(service: Service) -> str:
    return f"repository {service.uuid}"


def refusal(service: Service, key: Key, outcome: NotStored) -> str:
    others = "; it is stored in " + ", ".join(sorted(outcome.uuids)) if outcome.uuids else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{name_of(service)} did not store {key}{reason}{others}"


async def hash_block(verifier: Verifier, view: memoryview) -> None:
    """Pass bytes to the verifier: in a thread if there are many."""
    if len(view) >= SMALL_BODY:
        await trio.to_thread.run_sync(verifier.update, view)
    else:
        await trio.lowlevel.checkpoint()
        verifier.update(view)
