"""Checks of every `Service`: requests for content that is present, and for content that is absent."""

from __future__ import annotations

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotLocked, Service
from p2pannex.testing.samples import fetch, key_of, sample, store

BIG = (5 << 19) + 7
"""The size of a content of several blocks and a part of one, in bytes."""

ODD_KEYS = (
    b"WORM-s5-m123--a/b c%&:,d",
    b"WORM-s5--../../x",
    b"WORM-s5--\xff\xfe\xc3\xa9",
    b"URL--http&c%%host%path",
    b"XFOO-s5--abc",
    b"MADEUP-s5--" + b"n" * 100,
)
"""Keys with unusual backends and names. Those with a size are for content of 5 bytes."""


async def has_a_uuid(service: Service) -> None:
    """`uuid` is one word."""
    assert isinstance(service.uuid, str), f"uuid is {service.uuid!r}"
    assert service.uuid, "uuid is empty"
    assert not set(service.uuid) & set(" \r\n"), f"uuid is {service.uuid!r}"


async def reports_absent_content(service: Service) -> None:
    """Absent content is not present, cannot be locked, is sent as no bytes and not valid, and counts as removed."""
    key = key_of(b"never stored")
    assert await service.check_present(key) is False, "absent content is reported as present"
    try:
        locked: object = await service.lock(key)
    except NotLocked:
        pass
    else:
        # None in place of a lock would let callers go on without one.
        raise AssertionError(f"to lock absent content returned {locked!r} instead of raising NotLocked")
    assert await fetch(service, key) is None, "absent content was sent"
    assert await fetch(service, key, offset=5) is None, "absent content was sent from an offset on"
    removal = await service.remove(key)
    assert removal.ok, "absent content does not count as removed"


async def stores_and_gives_back(service: Service) -> None:
    """Stored content is present, is sent back byte for byte, and a second upload of it gets AlreadyHave."""
    content = b"some content"
    key = await store(service, content)
    assert await service.check_present(key) is True, "stored content is not present"
    assert await fetch(service, key) == content
    assert await fetch(service, key, piece=1) == content, "content that is read byte by byte is different"
    again = await service.put(key)
    assert isinstance(again, AlreadyHave), f"content that is present was requested again: {again}"
    assert service.uuid not in again.uuids, "the service names itself among the other repositories"
    assert await service.check_present(key_of(b"another")) is False


async def stores_empty_content(service: Service) -> None:
    """Content of no bytes can be stored, is present, and is valid."""
    key = await store(service, b"")
    assert await service.check_present(key) is True
    assert await fetch(service, key) == b"", "empty content is reported as absent"


async def stores_big_content(service: Service) -> None:
    """Content of several blocks is sent back whole, though the uploaded memory is overwritten after each call."""
    content = sample(BIG)
    key = await store(service, content, piece=300_001)
    assert await fetch(service, key, piece=99_991) == content


async def gives_from_an_offset(service: Service) -> None:
    """A download begins at the requested offset. At the end, or past it, it has no bytes and is valid."""
    content = b"0123456789"
    key = await store(service, content)
    for offset in (0, 1, 5, 9, 10):
        assert await fetch(service, key, offset) == content[offset:], f"from offset {offset}"
    assert await fetch(service, key, 11) == b"", "past the end"
    big = sample(BIG)
    key = await store(service, big)
    for offset in (1, 1 << 20, BIG - 1):
        assert await fetch(service, key, offset) == big[offset:], f"from offset {offset}"


async def takes_every_key(service: Service) -> None:
    """Keys of every backend, with any bytes in their names, name different contents."""
    stored = []
    for number, raw in enumerate(ODD_KEYS):
        content = b"odd-%d" % number
        try:
            key = await store(service, content, Key(raw))
        except Unsupported:
            assert await service.check_present(Key(raw)) is False, f"{raw!r} is unsupported, but present"
            continue
        assert await service.check_present(key) is True, f"{key} is not present"
        stored.append((key, content))
    assert stored, "no key is supported"
    for key, content in stored:
        assert await fetch(service, key) == content, f"{key} has the content of another key"


async def takes_file_names_as_hints(service: Service) -> None:
    """The client's name for the content has no effect on the result."""
    key = key_of(b"named")
    for name in (None, b"a b%c", "é/ü".encode(), b"-x", b"/absolute", b"\xff"):
        upload = await service.put(key, name)
        assert not isinstance(upload, AlreadyHave)
        async with upload:
            await upload.begin(5)
            await upload.send_all(memoryview(b"named"))
            await upload.finish(True)
        async with await service.get(key, file=name) as download:
            assert download.length == 5, f"with the file name {name!r}"
        assert (await service.remove(key)).ok


async def survives_downloads_that_are_left(service: Service) -> None:
    """A download that the caller leaves early, or reports as not received, does no harm."""
    content = sample(BIG)
    key = await store(service, content)
    async with await service.get(key):
        pass
    async with await service.get(key) as download:
        assert await download.readinto(memoryview(bytearray(1000)))
    async with await service.get(key) as download:
        block = memoryview(bytearray(download.length))
        while block:
            block = block[await download.readinto(block) :]
        assert await download.readinto(memoryview(bytearray(10))) == 0, "more bytes came than were announced"
        assert await download.valid()
        await download.finish(False)
    assert await fetch(service, key) == content


async def removal_during_a_download_spoils_nothing(service: Service) -> None:
    """If content is removed while it is read, the download continues to its end or fails. Wrong bytes never come."""
    content = sample(BIG)
    key = await store(service, content)
    try:
        async with await service.get(key) as download:
            got = bytearray()
            block = bytearray(1000)
            while count := await download.readinto(memoryview(block)):
                if not got:
                    await service.remove(key)
                got += block[:count]
            if await download.valid():
                assert got == content
            await download.finish(True)
    except (RemoteError, ConnectionLost):
        pass


async def serves_several_at_once(service: Service) -> None:
    """Several tasks store and read different contents at the same time."""
    contents = [sample(100_003 * (n % 4) + n, seed=n) for n in range(16)]

    failures: list[Exception] = []

    async def one(content: bytes) -> None:
        try:
            key = await store(service, content, piece=30_000)
            assert await fetch(service, key) == content
        except Exception as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for content in contents:
            nursery.start_soon(one, content)
    if failures:
        raise failures[0]
    for content in contents:
        assert await fetch(service, key_of(content)) == content


CONTENT_CHECKS = (
    has_a_uuid,
    reports_absent_content,
    stores_and_gives_back,
    stores_empty_content,
    stores_big_content,
    gives_from_an_offset,
    takes_every_key,
    takes_file_names_as_hints,
    survives_downloads_that_are_left,
    removal_during_a_download_spoils_nothing,
    serves_several_at_once,
)
