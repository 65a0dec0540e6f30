"""The first part of the quickstart: two stores, and content that moves between them.

Each is a directory store. A child process serves it on its standard input and output, as it would serve git-annex's
clients through ssh.
"""

from __future__ import annotations

import filecmp
import functools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from p2pannex.cli.output import Output
from p2pannex.cli.progress import transfer_bar
from p2pannex.cli.quickstart.sandbox import open_store, serving, stored
from p2pannex.cli.quickstart.view import View, size, speed
from p2pannex.keys.key import Key
from p2pannex.transfer.file_keys import key_for_file

if TYPE_CHECKING:
    from p2pannex.p2p.remote import Remote
    from p2pannex.stores.directory import DirectoryStore


class StoresTour:
    """Runs in `folder` with `files`, which are only read. `keys` has the key of each file, once `put` has made it."""

    def __init__(self, folder: str, files: Sequence[str], view: View, output: Output) -> None:
        self.folder = folder
        self.files = files
        self.view = view
        self.output = output
        self.keys: dict[str, Key] = {}

    async def run(self) -> None:
        laptop_store, server_store = self.stores()
        async with self.serving(laptop_store) as laptop, self.serving(server_store) as server:
            await self.put(laptop)
            await self.copy(laptop, server)
            await self.fetch(server)
            await self.lock(server)
            await self.drop(laptop, server)
            await self.look(laptop, server)

    def stores(self) -> tuple[DirectoryStore, DirectoryStore]:
        self.view.step("init", "Two stores", "A store is a directory with a UUID. It needs no git.")
        found = []
        for name in ("laptop", "server"):
            store = open_store(self.folder, name)
            self.view.row([name, f"uuid {store.uuid}"], store=name, uuid=store.uuid, path=os.fsdecode(store.path))
            found.append(store)
        return found[0], found[1]

    @asynccontextmanager
    async def serving(self, store: DirectoryStore) -> AsyncIterator[Remote]:
        """Connect to the store as a client, through the standard input and output of a server."""
        from p2pannex.p2p.dial import open_process_peer
        from p2pannex.p2p.remote import Remote

        dial = functools.partial(open_process_peer, serving(store), describe="p2pannex-shell", capture_stderr=True)
        async with await Remote.open(dial, store.uuid) as remote:
            yield remote

    # What is shown ------------------------------------------------------------------------------------------------

    async def put(self, laptop: Remote) -> None:
        import trio

        from p2pannex.transfer.transfer import send

        self.view.step(
            "put",
            "Put files on the laptop",
            "Each file's key is made from a hash of its bytes. A child process, p2pannex-shell p2pstdio, receives the "
            "bytes and verifies them against the key. It replies SUCCESS only when they are safe on disk.",
        )
        for path in self.files:
            key = await trio.to_thread.run_sync(key_for_file, path, abandon_on_cancel=True)
            self.keys[path] = key
            started = time.perf_counter()
            with transfer_bar(self.output, os.path.basename(path)) as watch:
                outcome = await send(laptop, key, path, progress=watch)
            self.done(path, watch.count - watch.offset, started, stored(outcome), name_key=True)

    async def copy(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.transfer.copying import copy

        self.view.step(
            "copy",
            "Copy them to the server",
            "One child process sends, the other receives. If a connection is lost during a copy, the next attempt "
            "continues where it stopped.",
        )
        for path, key in self.keys.items():
            started = time.perf_counter()
            with transfer_bar(self.output, os.path.basename(path)) as watch:
                outcome = await copy(laptop, server, key, progress=watch)
            self.done(path, watch.count - watch.offset, started, stored(outcome))

    async def fetch(self, server: Remote) -> None:
        import trio

        from p2pannex.transfer.transfer import WrongContent, retrieve

        self.view.step(
            "get",
            "Fetch them back",
            "The bytes are hashed as they arrive. The file gets its name only if they are the content of the key. Then "
            "it is compared with the file that was put.",
        )
        fetched = os.path.join(self.folder, "fetched")
        os.makedirs(fetched, exist_ok=True)
        for number, (path, key) in enumerate(self.keys.items()):
            name = os.path.join(fetched, f"{number + 1}-{os.path.basename(path)[-200:]}")
            started = time.perf_counter()
            with transfer_bar(self.output, os.path.basename(path)) as watch:
                await retrieve(server, key, name, progress=watch, overwrite=True)
            seconds = time.perf_counter() - started
            compare = functools.partial(filecmp.cmp, path, name, shallow=False)
            if not await trio.to_thread.run_sync(compare, abandon_on_cancel=True):
                raise WrongContent(f"{path} changed meanwhile; run the quickstart again")
            self.done(path, watch.count - watch.offset, started, "verified and identical", seconds=seconds)

    async def lock(self, server: Remote) -> None:
        from p2pannex.transfer.drop import RemovalRefused

        self.view.step(
            "lock",
            "Lock one on the server",
            "Locked content cannot be removed. A client locks one copy before it removes another. The lock is on disk, "
            "and lasts for ten minutes even if the connection is lost or the server is killed.",
        )
        path, key = next(iter(self.keys.items()))
        async with await server.lock(key):
            removal = await server.remove(key)
        if removal.ok:
            raise RemovalRefused("bug: the server removed locked content (please report it)")
        name = os.path.basename(path)
        self.view.row([name, "locked; the server refused to remove it"], file=path, locked=True, removed=False)

    async def drop(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.service import RETENTION
        from p2pannex.transfer.drop import MARGIN, RemovalRefused, remove_while_locked

        self.view.step(
            "remove",
            "Remove them from the laptop",
            f"Each is first locked on the server. The laptop may then remove it, but only within {RETENTION - MARGIN} "
            f"seconds of the lock, by its own clock. The lock lasts longer, so a slow connection cannot make the "
            f"removal too late.",
        )
        for path, key in {key: (path, key) for path, key in self.keys.items()}.values():
            started = time.perf_counter()
            removal = await remove_while_locked(key, target=laptop, holder=server)
            if not removal.ok:
                raise RemovalRefused(f"{path} was not removed: another client has locked it; try again in ten minutes")
            seconds = time.perf_counter() - started
            took = f"locked, removed, unlocked in {seconds * 1000:.1f} ms"
            self.view.row([os.path.basename(path), took], file=path, key=str(key), removed=True, seconds=seconds)

    async def look(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.transfer.drop import RemovalRefused

        self.view.step("check", "Check where everything is", "Both stores report what they have.")
        for path, key in self.keys.items():
            here, there = await laptop.check_present(key), await server.check_present(key)
            if here or not there:
                raise RemovalRefused(f"{path} is not where it should be; does another program use these stores?")
            text = "on the server, and no longer on the laptop"
            self.view.row([os.path.basename(path), text], file=path, key=str(key), laptop=here, server=there)

    def done(
        self,
        path: str,
        count: int,
        started: float,
        outcome: str,
        *,
        seconds: float | None = None,
        name_key: bool = False,
    ) -> None:
        """Show a row for a transfer."""
        seconds = time.perf_counter() - started if seconds is None else seconds
        key = self.keys[path]
        length = os.path.getsize(path)
        named = [str(key)] if name_key else []
        self.view.row(
            [os.path.basename(path), size(length), *named, f"{outcome}, {speed(count, seconds)}"],
            file=path,
            key=str(key),
            size=length,
            bytes=count,
            seconds=round(seconds, 6),
            outcome=outcome,
        )
