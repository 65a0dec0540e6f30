"""One of several processes that store, lock, read and remove a few keys in one directory store or repository.

``contend.py DIRECTORY SEED STEPS``
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from contextlib import suppress

import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotLocked, Stored
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.stores.opening import open_directory

CONTENTS = [random.Random(number).randbytes(150_000) for number in range(4)]
KEYS = [Key.make("SHA256", hashlib.sha256(content).hexdigest().encode(), size=150_000) for content in CONTENTS]


async def step(store: ObjectStore, chance: random.Random) -> None:
    number = chance.randrange(len(KEYS))
    key, content = KEYS[number], CONTENTS[number]
    action = chance.choice(["put", "put", "lock", "get", "remove"])
    if action == "put":
        upload = await store.put(key)
        if isinstance(upload, AlreadyHave):
            return
        async with upload:
            await upload.begin(len(content) - upload.offset)
            rest = memoryview(content)[upload.offset :]
            await upload.send_all(rest[:70_000])
            if chance.random() < 0.2:
                return  # interrupted: the partial stays, and any later upload resumes from it
            await upload.send_all(rest[70_000:])
            assert isinstance(await upload.finish(True), Stored)
    elif action == "lock":
        with suppress(NotLocked):
            async with await store.lock(key):
                for _ in range(3):
                    assert os.path.exists(store.layout.find(key)), "locked content was removed"
                    await trio.sleep(0.001)
    elif action == "get":
        async with await store.get(key) as download:
            if download.length:
                block = bytearray(download.length)
                assert await download.readinto(memoryview(block)) == len(content)
                assert block == content
    else:
        await store.remove(key)


async def main(directory: str, seed: int, steps: int) -> None:
    async with open_directory(directory) as store:
        chance = random.Random(seed)
        for _ in range(steps):
            await step(store, chance)
        await complete_partials(store)


async def complete_partials(store: ObjectStore) -> None:
    for key, content in zip(KEYS, CONTENTS, strict=True):
        try:
            upload = await store.put(key)
        except RemoteError:
            continue
        if not isinstance(upload, AlreadyHave):
            async with upload:
                await upload.begin(len(content) - upload.offset)
                await upload.send_all(memoryview(content)[upload.offset :])
                await upload.finish(True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(os.getpid(), "done")
