"""Run an operation on a store on disk and die by SIGKILL at its nth system call; for every n until it completes.

A program of its own, because it forks: ``crash_points.py KIND OPERATION DIRECTORY``. For each n it copies a new store,
forks a child that kills itself just before its nth call into the file system, checks what the child has left, and
lets an ordinary client finish the job. It prints the number of crash points that were tried.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Stored
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.opening import open_directory
from tests.stores.kinds import annex_directory, make_store

CONTENT = os.urandom(200_000)
KEY = Key.make("SHA256", hashlib.sha256(CONTENT).hexdigest().encode(), size=len(CONTENT))
CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "chmod", "fchmod", "ftruncate", "close")


async def put(store: ObjectStore) -> None:
    upload = await store.put(KEY)
    if isinstance(upload, AlreadyHave):
        return
    async with upload:
        await upload.begin(len(CONTENT) - upload.offset)
        position = upload.offset
        while position < len(CONTENT):
            part = memoryview(CONTENT)[position : position + 70_000]
            await upload.send_all(part)
            position += len(part)
        assert isinstance(await upload.finish(True), Stored)


async def remove(store: ObjectStore) -> None:
    async with store:
        assert (await store.remove(KEY)).ok


async def lock(store: ObjectStore) -> None:
    lock = await store.lock(KEY)
    say(b"locked\n")  # what SUCCESS would tell the client
    await lock.aclose()


def say(word: bytes) -> None:
    os.writev(1, [word])


def die_at(n: int) -> None:
    count = 0
    for name in CALLS:
        original = getattr(os, name)

        def call(*args: object, _original: Callable[..., object] = original, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return _original(*args, **kwargs)

        setattr(os, name, call)


def crash(directory: str, operation: Callable[[ObjectStore], Awaitable[None]], n: int) -> tuple[bool, bytes]:
    """Whether the child died, and what it said before."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        store = open_directory(directory)
        die_at(n)
        trio.run(operation, store)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the operation failed of itself"
    return os.WIFSIGNALED(status), said


def in_child(function: Callable[[], None]) -> None:
    """Check in a process of its own: this one must stay without threads, to fork again."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("a crash point left something wrong")


def check_object(directory: str) -> bool:
    """The object is absent, or complete and as its key says."""
    path = open_directory(directory).layout.find(KEY)
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        assert file.read() == CONTENT
    return True


async def check_log(directory: str, present: bool) -> None:
    """The location log says what the disk says."""
    async with open_directory(directory) as store:
        if isinstance(store, AnnexStore):
            assert (store.uuid in await store._branch.locations(KEY)) == present


def main() -> None:
    kind, operation_name, base = sys.argv[1:]
    operation = {"put": put, "remove": remove, "lock": lock}[operation_name]
    fresh = os.path.join(base, "fresh")
    make_store(kind, Path(fresh))
    if operation_name != "put":
        in_child(lambda: trio.run(put, open_directory(fresh)))
    n = 0
    died = True
    while died:
        n += 1
        directory = os.path.join(base, f"{operation_name}{n}")
        shutil.copytree(fresh, directory)
        died, said = crash(directory, operation, n)

        def check(directory: str = directory, said: bytes = said) -> None:
            present = check_object(directory)
            if operation_name == "lock":
                assert present

                async def refused() -> None:
                    removal = await open_directory(directory).remove(KEY)
                    assert not (removal.ok and said), "a lock that was given did not outlive its holder"

                trio.run(refused)
                return
            trio.run(operation, open_directory(directory))
            assert check_object(directory) == (operation_name == "put")
            assert os.listdir(annex_directory(Path(directory)) / "tmp") == []
            trio.run(check_log, directory, operation_name == "put")

        in_child(check)
        shutil.rmtree(directory)
    print(n - 1)


if __name__ == "__main__":
    main()
