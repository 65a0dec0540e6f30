"""Tries at a node what requests will try, and so finds out what is wrong with it.

A node may reply and still fail at every request: with wrong credentials, for example, the program of a special remote
often starts without an error. So `try_requests` sends requests that change nothing:

- CHECKPRESENT of a key that no repository has.
- PUT of this key, ended without any content. The node refuses it if it cannot store, for example because its disk is
  full or can only be read. Nothing is stored, so nothing is logged either.

The program of a special remote is sent no content by that, because content is first received in the spool.
`try_storing` stores a few random bytes in a special remote, and removes them again. It is for a node that is being
added. It is not for the status, because storage may charge for requests, or keep what is removed.
"""

from __future__ import annotations

import hashlib
import secrets

from p2pannex.errors import READ_ONLY_ERROR, ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Service
from p2pannex.stores.external.fetched import discard
from p2pannex.stores.external.store import ExternalStore
from p2pannex.system.disk_errors import disk_errors

TRIED_KEY = Key("SHA256-s1--" + 64 * "0")
"""A key that no known content has. It is always the same, because git-annex-shell keeps an empty file
of an upload that ended without content."""

READ_ONLY = "it is read-only: nothing will be stored there or removed"

CLAIMS_TOO_MUCH = "it claims to have content that does not exist: do not rely on its copies"


async def try_requests(service: Service) -> str:
    """Try requests that change nothing. Returns a remark for people, which is empty if all of them can be fulfilled.

    A node that only allows reading is no failure, nor one that claims to have what does not exist. RemoteError or
    ConnectionLost if a request fails otherwise.
    """
    await service.check_present(TRIED_KEY)
    try:
        return await _try_put(service)
    except RemoteError as error:
        if str(error) != READ_ONLY_ERROR:
            raise
        return READ_ONLY


async def _try_put(service: Service) -> str:
    version = await service.version()
    upload = await service.put(TRIED_KEY)
    if isinstance(upload, AlreadyHave):
        return CLAIMS_TOO_MUCH
    async with upload:
        if version >= 1:  # version 0 cannot end an upload without closing the connection
            await upload.begin(0)
            await upload.finish(False)
    return ""


async def try_storing(store: ExternalStore) -> str:
    """Store random bytes, and remove them. Returns a remark for people, which is empty if both succeeded.

    RemoteError or ConnectionLost if the content cannot be stored.
    """
    content = secrets.token_bytes(32)  # so no other client has stored the same, and it may be removed
    key = Key(f"SHA256-s{len(content)}--{hashlib.sha256(content).hexdigest()}")
    path = store.spool.new_file()
    with disk_errors("cannot write to the spool"), open(path, "wb") as file:
        file.write(content)
    try:
        await store.store_file(key, path)
    finally:
        discard(path)
    if not await store.check_present(key):
        raise RemoteError("its program reported that it stored content, and then that the content is absent")
    try:
        removal = await store.remove(key)
    except (RemoteError, ConnectionLost) as error:
        return f"it cannot remove content ({error}): {key} stays there"
    return "" if removal.ok else f"it cannot remove content: {key} stays there"


__all__ = ["TRIED_KEY", "try_requests", "try_storing"]
