"""`p2pannex quickstart`: the main job, from nothing, in one command.

Everything in it is real. Two directory stores are made, each served by a child process that speaks the protocol on its
standard input and output, as git-annex's clients would have it through ssh. What is shown is what was measured.
"""

from __future__ import annotations

import filecmp
import functools
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
import uuid as uuid_module
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import click

from p2pannex.cli.options import prints
from p2pannex.cli.output import Output
from p2pannex.cli.progress import transfer_bar
from p2pannex.cli.quickstart_view import JsonView, QuietView, RichView, View, size, speed
from p2pannex.keys import Key, key_for_file

if TYPE_CHECKING:
    from p2pannex.remote import Remote
    from p2pannex.stores.directory import DirectoryStore

MADE = {"notes.txt": 2_000, "photo.jpg": 3_000_000, "film.mkv": 50_000_000}
"""The files that are made where none are named: their bytes are made up."""


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option("--dir", "directory", metavar="DIR", type=click.Path(file_okay=False), help="Work here, and keep it.")
@prints
def quickstart(files: tuple[str, ...], directory: str | None, output: Output) -> None:
    """See the main job done, in one go.

    Put, copy, fetch back, lock and remove safely, between two stores. It is done with FILEs, which are only read, or
    with files that are made for it. Without --dir it happens in a temporary folder and leaves nothing behind.
    """
    import trio

    view: View = JsonView() if output.as_json else QuietView() if output.quiet else RichView()
    with _folder(directory) as folder:
        trio.run(_Tour(folder, files, directory, view, output).run)


@contextmanager
def _folder(directory: str | None) -> Iterator[str]:
    if directory is not None:
        os.makedirs(directory, exist_ok=True)
        yield os.path.abspath(directory)
        return
    with tempfile.TemporaryDirectory(prefix="p2pannex-quickstart-") as folder:
        yield folder


class _Tour:
    def __init__(self, folder: str, files: Sequence[str], directory: str | None, view: View, output: Output) -> None:
        self.folder = folder
        self.files = list(files)
        self.kept = directory
        self.view = view
        self.output = output
        self.keys: dict[str, Key] = {}

    async def run(self) -> None:
        self.view.begin(
            "git-annex calls content by a key, which says what its bytes are. p2pannex stores, fetches and removes "
            "content by its key, over the protocol that git-annex speaks. Here it does so with two stores, a "
            "laptop's and a server's, both on this machine."
        )
        laptop_store, server_store = self.stores()
        if not self.files:
            self.make_files()
        async with self.serving(laptop_store) as laptop, self.serving(server_store) as server:
            await self.put(laptop)
            await self.copy(laptop, server)
            await self.fetch(server)
            await self.lock(server)
            await self.drop(laptop, server)
            await self.look(laptop, server)
        self.end()

    # Preparations -------------------------------------------------------------------------------------------------

    def stores(self) -> tuple[DirectoryStore, DirectoryStore]:
        from p2pannex.stores.directory import DirectoryStore, NotAStore

        self.view.step("init", "Two stores", "A store is a directory with an identity. It needs no git.")
        found = []
        for name in ("laptop", "server"):
            path = os.path.join(self.folder, name)
            try:
                store = DirectoryStore(path)
            except NotAStore:
                store = DirectoryStore.create(path)
            self.view.row([name, f"uuid {store.uuid}"], store=name, uuid=store.uuid, path=path)
            found.append(store)
        return found[0], found[1]

    def make_files(self) -> None:
        made = os.path.join(self.folder, "files")
        os.makedirs(made, exist_ok=True)
        for name, length in MADE.items():
            path = os.path.join(made, name)
            with open(path, "wb") as file:
                file.write(random.Random(name).randbytes(length))  # noqa: S311 - the same each time: no secret
            self.files.append(path)

    @asynccontextmanager
    async def serving(self, store: DirectoryStore) -> AsyncIterator[Remote]:
        """The store as a client has it: through a server's standard input and output."""
        from p2pannex.remote import Remote
        from p2pannex.transports.process import open_process_peer

        argv = [*_shell(), "p2pstdio", os.fsdecode(store.path), str(uuid_module.uuid4()), "--uuid", store.uuid]
        dial = functools.partial(open_process_peer, argv, describe="p2pannex-shell", capture_stderr=True)
        async with await Remote.open(dial, store.uuid) as remote:
            yield remote

    # What is shown ------------------------------------------------------------------------------------------------

    async def put(self, laptop: Remote) -> None:
        import trio

        from p2pannex.transfer import send

        self.view.step(
            "put",
            "Put files on the laptop",
            "Each file's key is made from its bytes. A child process, p2pannex-shell p2pstdio, receives them, checks "
            "them against the key, and says yes only when they are safe on disk.",
        )
        for path in self.files:
            key = await trio.to_thread.run_sync(key_for_file, path, abandon_on_cancel=True)
            self.keys[path] = key
            started = time.perf_counter()
            with transfer_bar(self.output, os.path.basename(path)) as watch:
                outcome = await send(laptop, key, path, progress=watch)
            self.done(path, watch.count - watch.offset, started, _stored(outcome, key), name_key=True)

    async def copy(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.transfer import copy

        self.view.step(
            "copy",
            "Copy them to the server",
            "From one server's child process into another's. If a connection were lost in the middle, the copy would "
            "go on where it stopped.",
        )
        for path, key in self.keys.items():
            started = time.perf_counter()
            with transfer_bar(self.output, os.path.basename(path)) as watch:
                outcome = await copy(laptop, server, key, progress=watch)
            self.done(path, watch.count - watch.offset, started, _stored(outcome, key))

    async def fetch(self, server: Remote) -> None:
        import trio

        from p2pannex.transfer import WrongContent, retrieve

        self.view.step(
            "get",
            "Fetch them back",
            "What comes is hashed as it comes, and gets its name only if it is the content of its key. Then it is "
            "compared with the file that was put.",
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
                raise WrongContent(f"{path} changed while this ran; run it again")
            self.done(path, watch.count - watch.offset, started, "verified and identical", seconds=seconds)

    async def lock(self, server: Remote) -> None:
        from p2pannex.drop import Refused

        self.view.step(
            "lock",
            "Lock one on the server",
            "A lock is a promise to keep content, for who is about to remove another copy. It is written to disk, and "
            "it holds for ten minutes even if the connection or the server dies.",
        )
        path, key = next(iter(self.keys.items()))
        lock = await server.lock(key)
        if lock is None:
            raise Refused("the server could not lock content that it has; is something else removing it?")
        async with lock:
            removal = await server.remove(key)
        if removal.ok:
            raise Refused("the server removed locked content, which must not happen: please report it")
        name = os.path.basename(path)
        self.view.row([name, "locked; asked to remove it, the server refused"], file=path, locked=True, removed=False)

    async def drop(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.drop import MARGIN, Refused, remove_while_locked
        from p2pannex.service import RETENTION

        self.view.step(
            "remove",
            "Remove them from the laptop",
            f"Each is locked on the server first. The laptop may then remove it before a deadline on its own clock, "
            f"{RETENTION - MARGIN} seconds from the lock: in time, however slow the connection.",
        )
        for path, key in {key: (path, key) for path, key in self.keys.items()}.values():
            started = time.perf_counter()
            removal = await remove_while_locked(key, target=laptop, holder=server)
            if not removal.ok:
                raise Refused(f"{path} was not removed: somebody else has it locked; try again in ten minutes")
            seconds = time.perf_counter() - started
            took = f"locked, removed, unlocked in {seconds * 1000:.1f} ms"
            self.view.row([os.path.basename(path), took], file=path, key=str(key), removed=True, seconds=seconds)

    async def look(self, laptop: Remote, server: Remote) -> None:
        from p2pannex.drop import Refused

        self.view.step("check", "Look where everything is", "Both stores are asked.")
        for path, key in self.keys.items():
            here, there = await laptop.check_present(key), await server.check_present(key)
            if here or not there:
                raise Refused(f"{path} is not where it should be; is something else using these stores?")
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
        """A row for a transfer."""
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

    def end(self) -> None:
        key = next(iter(self.keys.values()))
        if self.kept is None:
            server, where = "STORE", "All of it was in a temporary folder, which is gone now."
            first = ("p2pannex quickstart --dir try-it", "the same again, in a folder that stays")
        else:
            server = shlex.quote(os.path.join(self.kept, "server"))
            where = f"All of it is in {self.folder}."
            first = (f"p2pannex check {server} {shlex.quote(str(key))}", "ask for one of them yourself")
        commands = [
            first,
            ("p2pannex init STORE && p2pannex put STORE FILE", "a store of your own"),
            ("p2pannex --help", "the other commands, URLs and exit codes"),
        ]
        untouched = "" if self.files and self.files[0].startswith(self.folder) else " Your files were only read."
        self.view.end(
            f"Stored, copied, fetched back, and removed where no longer needed: {len(self.keys)} files, of each of "
            f"which there was a copy at every moment.{untouched} {where}",
            commands,
            folder=self.kept and self.folder,
            files=len(self.keys),
        )


def _stored(outcome: object, key: Key) -> str:
    from p2pannex.service import AlreadyHave, NotStored
    from p2pannex.transfer import WrongContent

    if isinstance(outcome, NotStored):
        raise WrongContent(f"{key} was not stored: its file changed while this ran; run it again")
    return "there already" if isinstance(outcome, AlreadyHave) else "stored"


def _shell() -> list[str]:
    """The program that serves: the one installed beside this one, or the same by its module's name."""
    program = shutil.which("p2pannex-shell", path=os.path.dirname(sys.executable))
    return [program] if program else [sys.executable, "-m", "p2pannex.cli.shell"]
