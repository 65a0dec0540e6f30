"""`ExternalStore`: a special remote as a Service. It uses any program of git-annex's external special remote protocol.

Such a program can only store, fetch, find and remove whole files. This module adds what else a Service does:

- Content passes through a spool (`spool.py`): it is verified before it is stored, and can be read from any offset.
- Deadlines of removals use this machine's clock.
- LOCKCONTENT always fails, because the storage has no locks and may have other clients. git-annex then checks whether
  the content is present, as it does with its own special remotes.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence

import trio

from p2pannex.errors import RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, NotLocked, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.external import messages as messages
from p2pannex.stores.external.fetched import discard, open_verified
from p2pannex.stores.external.messages import Reply, Request
from p2pannex.stores.external.pool import ProgramPool
from p2pannex.stores.external.settings import Settings
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.files.downloads import Nothing, ObjectDownload
from p2pannex.stores.files.objects import NAME_MAX
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors

REPLY_TIMEOUT = 60.0
"""Seconds that a program may take to start, and to reply to a request that moves no content."""

TRANSFER_TIMEOUT = 3600.0
"""Seconds that a program may take at most to store or fetch content. They start again at each progress report.
Content of a known size has less time (`ProgramPool`)."""


class ExternalStore(Service):
    """The special remote that `program` (its name, or its command line) gives access to.

    uuid: the uuid of the remote.
    config: the settings that ``git annex initremote`` would get, such as ``directory=/mnt/disk``. When they change, the
        program initialises the remote again before any other request.
    spool: a `Spool`, which several stores may share, or the directory of a new one.
    state_dir: a directory for this remote alone, made if it is missing. It holds the program's settings, passwords
        included.
    concurrency: the number of transfers at once. A program without ASYNC may have that many processes, and two more
        for short requests.
    timeout, transfer_timeout: seconds, see `REPLY_TIMEOUT` and `TRANSFER_TIMEOUT`.
    name, git_dir: the remote's name and the git repository, for programs that request them.
    environment: the program's whole environment; ours if None.
    inform: called with messages of the program for the user.

    The program is started when it is first needed. The caller must close the store with `aclose`, or use it as an
    ``async with`` block. RemoteError if there is no such program, or a directory cannot be used.
    """

    def __init__(
        self,
        uuid: str,
        program: str | Sequence[str],
        config: Mapping[str, str],
        spool: Spool | str | bytes | os.PathLike[str],
        state_dir: str | bytes | os.PathLike[str],
        *,
        name: str = "",
        git_dir: str | bytes | None = None,
        concurrency: int = 4,
        timeout: float = REPLY_TIMEOUT,
        transfer_timeout: float = TRANSFER_TIMEOUT,
        environment: Mapping[str, str] | None = None,
        inform: Callable[[str], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.uuid = uuid
        self.clock = clock or SystemClock()
        self.spool = spool if isinstance(spool, Spool) else Spool(spool)
        argv = [program] if isinstance(program, str) else list(program)
        path = os.environ.get("PATH") if environment is None else environment.get("PATH")
        found = shutil.which(argv[0], path=path)
        if found is None:
            raise RemoteError(f"there is no program {argv[0]}; install it, or give its path")
        argv[0] = os.path.abspath(found)
        state = os.path.abspath(os.fsencode(state_dir))
        with disk_errors("cannot use the directory for the special remote's settings"):
            self._settings = Settings(
                state,
                uuid,
                config,
                name=name,
                git_dir=state if git_dir is None else os.path.abspath(os.fsencode(git_dir)),
            )
        self._describe = f"special remote {name or os.path.basename(argv[0])}"
        self._programs = ProgramPool(
            argv,
            self._settings,
            describe=self._describe,
            timeout=timeout,
            transfer_timeout=transfer_timeout,
            concurrency=concurrency,
            cwd=self.spool.path,
            environment=environment,
            inform=inform,
        )

    async def aclose(self) -> None:
        await self._programs.aclose()

    # What a Service does ----------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        word = messages.key_word(key)
        if word is None:
            await trio.lowlevel.checkpoint()
            return False
        reply = await self._run(messages.check_present(word))
        if reply.verb == b"CHECKPRESENT-UNKNOWN":
            raise self._failed("cannot tell whether the content is present", reply)
        return reply.verb == b"CHECKPRESENT-SUCCESS"

    async def lock(self, key: Key) -> Lock:
        """Always NotLocked: a special remote cannot lock content."""
        await trio.lowlevel.checkpoint()
        raise NotLocked("a special remote cannot lock content")

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint()
        return int(self.clock.monotonic())

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove the content. The deadline is checked last, immediately before REMOVE is sent to the program.

        The program then takes some time. If it has not replied by the deadline, it is killed; but the storage may still
        execute a request that the program has sent to it.
        """
        word = messages.key_word(key)
        if word is None:
            await trio.lowlevel.checkpoint()
            return Removal(True)

        def left() -> float:
            if before is None:
                return math.inf
            now = self.clock.monotonic()
            return before - now if int(now) < before else 0.0

        if left() > 0:
            # Not cancellable: a later request, such as an upload of the key, must not begin while REMOVE still runs.
            reply = await self._programs.run(messages.remove(word), left=left, uncancelled=True)
            if reply is not None:
                self._supported(reply, "REMOVE")
                if reply.verb == b"REMOVE-SUCCESS":
                    return Removal(True)
                raise self._failed("cannot remove the content", reply)
        return Removal(not await self.check_present(key))

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        _storable(key)
        if len(key.file_name) > NAME_MAX:
            raise RemoteError("the key's name is too long for a file name")
        while True:
            if await self.check_present(key):
                return AlreadyHave()

            async def deliver(path: bytes) -> Stored | NotStored:
                return await self.store_file(key, path)

            async def present() -> bool:
                return await self.check_present(key)

            upload = await self.spool.upload(key, deliver, present)
            if upload is not None:
                return upload

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        word = messages.key_word(key)
        if word is None:
            await trio.lowlevel.checkpoint()
            return Nothing()
        path = self.spool.incoming(key)
        try:
            reply = await self._run(messages.transfer(b"RETRIEVE", word, path), transfer=True, size=key.size)
            if reply.verb == b"TRANSFER-SUCCESS":
                return ObjectDownload(await open_verified(path, key, self._describe), offset)
            if await self.check_present(key):
                raise self._failed("cannot fetch the content", reply)
            return Nothing()
        finally:
            discard(path)

    # More than a Service ----------------------------------------------------------------------------------------

    async def store_file(
        self, key: Key, path: bytes, *, progress: Callable[[int], None] | None = None
    ) -> Stored | NotStored:
        """Store the content from a file. The caller must have verified the file, and not change it until this returns.

        A cluster uses this to deliver one spooled file to several special remotes. `progress` is called with the number
        of bytes stored, if the program reports it. RemoteError if storing fails.
        """
        with disk_errors("cannot store the content"):
            size = os.stat(path).st_size
        request = messages.transfer(b"STORE", _storable(key), path)
        reply = await self._run(request, transfer=True, size=size, progress=progress)
        if reply.verb != b"TRANSFER-SUCCESS":
            raise self._failed("cannot store the content", reply)
        return Stored()

    async def cost(self) -> int | None:
        """The cost of using the remote, as git-annex's ``annex-cost``; None if the program does not report one."""
        reply = await self._programs.run(messages.get_cost())
        known = reply is not None and reply.verb == b"COST" and reply.words.isdigit() and len(reply.words) < 10
        return int(reply.words) if reply is not None and known else None

    async def availability(self) -> str:
        """GLOBAL, LOCAL or UNAVAILABLE; GLOBAL if the program does not report it."""
        reply = await self._programs.run(messages.get_availability())
        value = messages.text(reply.words) if reply is not None and reply.verb == b"AVAILABILITY" else ""
        return value if value in ("LOCAL", "UNAVAILABLE") else "GLOBAL"

    async def wanted(self) -> str:
        """The preferred content expression that the program has set; empty if it has set none."""
        (line,) = await trio.to_thread.run_sync(self._settings.handle, b"GETWANTED") or [b""]
        return line.removeprefix(b"VALUE ").decode("utf-8", "replace")

    async def _run(
        self,
        request: Request,
        *,
        transfer: bool = False,
        size: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Reply:
        reply = await self._programs.run(request, transfer=transfer, size=size, progress=progress)
        assert reply is not None, "a request without a deadline is always sent"
        self._supported(reply, request.verb)
        return reply

    def _supported(self, reply: Reply, verb: str) -> None:
        if reply.verb == messages.UNSUPPORTED:
            raise Unsupported(f"{self._describe} does not support {verb}, which every program must")

    def _failed(self, what: str, reply: Reply) -> RemoteError:
        return RemoteError(f"{self._describe} {what}: {self._settings.redact(reply.reason)}")


def _storable(key: Key) -> bytes:
    """The key as a word in a STORE request. Unsupported if it contains a space."""
    word = messages.key_word(key)
    if word is None:
        raise Unsupported("special remotes cannot store content whose key has a space; git annex migrate renames it")
    return word
