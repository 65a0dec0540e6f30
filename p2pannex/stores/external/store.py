"""A special remote as a Service: whatever storage a program of git-annex's external special remote protocol reaches.

Such a program stores, fetches, finds and removes whole files. The rest of what a repository does is done here: content
comes through a spool (`spool.py`), where it is verified before it is stored and can be read from any offset; deadlines
are told by this machine's clock. Nothing can be locked: the storage is others' as well, and knows no locks. git-annex
then goes by whether the content is present, as it does with special remotes of its own.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import trio

from p2pannex.errors import RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.external import messages as messages
from p2pannex.stores.external.messages import Reply, Request
from p2pannex.stores.external.pool import Programs
from p2pannex.stores.external.settings import Settings
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.files.downloads import Nothing, ObjectDownload
from p2pannex.stores.files.objects import NAME_MAX
from p2pannex.system.clock import Clock, SystemClock
from p2pannex.system.disk_errors import disk_errors

REPLY_TIMEOUT = 60.0
"""Seconds that a program may take to start, and to answer whatever moves no content."""

TRANSFER_TIMEOUT = 3600.0
"""Seconds that a program may take to store or fetch content, each time that it says that it got further."""


class ExternalStore(Service):
    """The special remote that `program` reaches: its name, or its command line.

    uuid: the remote's. config: what ``git annex initremote`` would be given for it, such as ``directory=/mnt/disk``;
        when it changes, the program is told to initialise the remote again, before anything else is asked of it.
    spool: a `Spool`, which several services may share, or the directory for one of its own.
    state_dir: a directory of this remote's own, made where it is missing: what the program asks to be kept, passwords
        among it.
    concurrency: transfers at once, and so, beside two for short questions, how many of the program may run at once.
    timeout, transfer_timeout: seconds, see `REPLY_TIMEOUT` and `TRANSFER_TIMEOUT`.
    name, git_dir: what the program hears that the remote is called, and where the git repository is, if it asks.
    environment: the program's whole environment, ours where it is None.
    inform: is called with what the program wants people to know.

    The program is started when it is first needed; close the service with `aclose`, or use it as an ``async with``
    block. RemoteError where there is no such program, or the directories cannot be used.
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
            raise RemoteError(f"there is no program {argv[0]}; install it, or name its path")
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
        self._programs = Programs(
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
        reply = await self._ask(messages.check_present(word))
        if reply.verb == b"CHECKPRESENT-UNKNOWN":
            raise self._failed("cannot tell whether the content is there", reply)
        return reply.verb == b"CHECKPRESENT-SUCCESS"

    async def lock(self, key: Key) -> Lock | None:
        """None: a special remote can promise nothing."""
        await trio.lowlevel.checkpoint()
        return None

    async def timestamp(self) -> int:
        await trio.lowlevel.checkpoint()
        return int(self.clock.monotonic())

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        """Remove the content. The deadline is looked at last, immediately before the program is told to.

        What the program then does takes its time. It is killed when the deadline comes and it has not answered; what
        it has asked of the storage by then may still be done.
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
            # Not to be cancelled: a removal that was sent has an end before anything is asked that it could undo.
            reply = await self._programs.ask(messages.remove(word), left=left, uncancelled=True)
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
            reply = await self._ask(messages.transfer(b"RETRIEVE", word, path), transfer=True)
            if reply.verb == b"TRANSFER-SUCCESS":
                return self._open(key, path, offset)
            if await self.check_present(key):
                raise self._failed("cannot fetch the content", reply)
            return Nothing()
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)  # who reads it has it open

    def _open(self, key: Key, path: bytes, offset: int) -> Download:
        with disk_errors("cannot read the content"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise RemoteError(f"{self._describe} says that it has fetched the content, and has not") from None
        size = os.fstat(fd).st_size
        if key.size is not None and key.size != size:
            os.close(fd)
            raise RemoteError(f"{self._describe} has damaged content: {size} bytes of {key.size}")
        return ObjectDownload(fd, offset)

    # More than a Service ----------------------------------------------------------------------------------------

    async def store_file(
        self, key: Key, path: bytes, *, progress: Callable[[int], None] | None = None
    ) -> Stored | NotStored:
        """Store the content in a file, which the caller has verified, and keeps as it is until this returns.

        With this a cluster delivers one spooled file to several special remotes. RemoteError where it fails.
        `progress` is called with the bytes that have been stored, as far as the program tells.
        """
        reply = await self._ask(messages.transfer(b"STORE", _storable(key), path), transfer=True, progress=progress)
        if reply.verb != b"TRANSFER-SUCCESS":
            raise self._failed("cannot store the content", reply)
        return Stored()

    async def cost(self) -> int | None:
        """What using the remote costs, in the terms of git-annex's ``annex-cost``; None where it does not say."""
        reply = await self._programs.ask(messages.get_cost())
        return int(reply.words) if reply is not None and reply.verb == b"COST" and reply.words.isdigit() else None

    async def availability(self) -> str:
        """GLOBAL, LOCAL or UNAVAILABLE; GLOBAL where the program does not know."""
        reply = await self._programs.ask(messages.get_availability())
        said = messages.text(reply.words) if reply is not None and reply.verb == b"AVAILABILITY" else ""
        return said if said in ("LOCAL", "UNAVAILABLE") else "GLOBAL"

    async def wanted(self) -> str:
        """The preferred content expression that the program has set, empty where it has not."""
        (line,) = await trio.to_thread.run_sync(self._settings.answer, b"GETWANTED") or [b""]
        return line.removeprefix(b"VALUE ").decode("utf-8", "replace")

    async def _ask(
        self, request: Request, *, transfer: bool = False, progress: Callable[[int], None] | None = None
    ) -> Reply:
        reply = await self._programs.ask(request, transfer=transfer, progress=progress)
        assert reply is not None, "a request without a deadline is always sent"
        self._supported(reply, request.verb)
        return reply

    def _supported(self, reply: Reply, verb: str) -> None:
        if reply.verb == messages.UNSUPPORTED:
            raise Unsupported(f"{self._describe} does not know {verb}, which every program must")

    def _failed(self, what: str, reply: Reply) -> RemoteError:
        return RemoteError(f"{self._describe} {what}: {self._settings.redact(reply.reason)}")


def _storable(key: Key) -> bytes:
    """The word for a key whose content is to be stored."""
    word = messages.key_word(key)
    if word is None:
        raise Unsupported("special remotes cannot store content whose key has a space; git annex migrate renames it")
    return word
