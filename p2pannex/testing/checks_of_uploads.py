"""Checks of every `Service`: uploads that stop early or have wrong content. Only valid content is ever stored."""

from __future__ import annotations

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, NotStored, Service, Stored, Upload
from p2pannex.testing.samples import begin_upload, fetch, key_of, offer, sample, send_pieces, store


async def _upload(service: Service, key: Key) -> Upload:
    upload = await begin_upload(service, key)
    assert not isinstance(upload, AlreadyHave), f"{key} should be absent"
    return upload


async def _still_absent(service: Service, key: Key) -> None:
    assert await service.check_present(key) is False, "content that was not stored is present"
    assert await fetch(service, key) is None, "content that was not stored is sent"


async def resumes_an_upload_that_was_left(service: Service) -> None:
    """After an upload that stopped, the next one resumes where the bytes ended, and the whole content is right."""
    content = sample(4 << 20)
    key = key_of(content)
    async with await _upload(service, key) as upload:
        assert upload.offset == 0, f"nothing was sent yet, but the offset is {upload.offset}"
        await upload.begin(len(content))
        await send_pieces(upload, content[: 3 << 20])
    await _still_absent(service, key)
    async with await _upload(service, key) as upload:
        assert 0 < upload.offset <= 3 << 20, f"3 MiB were sent, but the offset is {upload.offset}"
    await store(service, content)
    assert await fetch(service, key) == content


async def resumes_a_small_upload_too(service: Service) -> None:
    """An upload that stopped can be made again, however few bytes were sent."""
    content = b"0123456789"
    key = key_of(content)
    for sent in (0, 4, 9, 10):
        async with await _upload(service, key) as upload:
            if upload.offset <= sent:
                await upload.begin(len(content) - upload.offset)
                await send_pieces(upload, content[upload.offset : sent])
        await _still_absent(service, key)
    await store(service, content)
    assert await fetch(service, key) == content


async def does_not_store_damaged_content(service: Service) -> None:
    """Content that does not verify is not stored, even if its sender calls it valid; the right content is, later."""
    content = b"0123456789"
    key = key_of(content)
    assert isinstance(await offer(service, b"012345678X", key), NotStored), "content that does not verify was stored"
    await _still_absent(service, key)
    async with await _upload(service, key) as upload:
        assert upload.offset == 0, "content that does not verify was kept to resume from"
    await store(service, content)
    assert await fetch(service, key) == content


async def does_not_trust_a_damaged_beginning(service: Service) -> None:
    """If the bytes of a stopped upload are wrong, the content is not stored once the rest has come."""
    content = sample(2 << 20)
    key = key_of(content)
    async with await _upload(service, key) as upload:
        await upload.begin(len(content))
        await send_pieces(upload, b"X" * (1 << 20))
    outcome = await offer(service, content, key)
    if isinstance(outcome, NotStored):
        await _still_absent(service, key)
    await store(service, content)
    assert await fetch(service, key) == content


async def does_not_store_a_part(service: Service) -> None:
    """Content that is shorter than the key's size is not stored."""
    await _does_not_store(service, b"0123")


async def does_not_store_too_much(service: Service) -> None:
    """Content that is longer than the key's size is not stored."""
    await _does_not_store(service, b"0123456789extra")


async def _does_not_store(service: Service, sent: bytes) -> None:
    """`sent` is not stored for a key of ten bytes. The right content then is."""
    content = b"0123456789"
    for key in (key_of(content), Key(b"WORM-s10-m1--x")):
        async with await _upload(service, key) as upload:
            try:
                await upload.begin(len(sent))
                await upload.send_all(memoryview(sent))
                outcome: object = await upload.finish(True)
            except RemoteError:
                outcome = NotStored()
        assert isinstance(outcome, NotStored), f"{len(sent)} bytes were stored for a key of 10: {outcome}"
        await _still_absent(service, key)
        await store(service, content, key)
        assert await fetch(service, key) == content


async def verifies_what_its_sender_calls_invalid(service: Service) -> None:
    """Content that its sender calls invalid is stored only if the key has a hash, and the content matches it."""
    content = b"0123456789"
    for sent, key in (
        (b"012345678X", key_of(content)),
        (content, key_of(content)),
        (content, Key(b"WORM-s10-m1--x")),
    ):
        await service.remove(key)
        async with await _upload(service, key) as upload:
            await upload.begin(len(sent))
            await upload.send_all(memoryview(sent))
            try:
                outcome: object = await upload.finish(False)
            except ConnectionLost:
                outcome = None  # protocol version 0 has no INVALID; the client closes instead
        if outcome is None:
            continue
        stored = isinstance(outcome, Stored)
        assert not stored or (sent == content and key.verifier().conclusive), "unverified content was stored"
        assert await service.check_present(key) is stored, f"the outcome was {outcome}"
        await store(service, content, key)
        assert await fetch(service, key) == content


async def does_not_resume_from_invalid_content(service: Service) -> None:
    """If only the size can be verified, bytes that their sender called invalid are not resumed from."""
    key = Key(b"WORM-s10-m1--x")
    async with await _upload(service, key) as upload:
        await upload.begin(5)
        await upload.send_all(memoryview(b"XXXXX"))
        try:
            await upload.finish(False)
        except ConnectionLost:
            return  # protocol version 0 has no INVALID
    await _still_absent(service, key)
    await store(service, b"0123456789", key)
    assert await fetch(service, key) == b"0123456789"


async def reports_the_offset_alone(service: Service) -> None:
    """An upload of no bytes that is not valid only requests the offset: nothing is stored, and no bytes are lost."""
    content = sample(4 << 20)
    key = key_of(content)
    async with await _upload(service, key) as upload:
        await upload.begin(len(content))
        await send_pieces(upload, content[: 3 << 20])
    async with await _upload(service, key) as upload:
        offset = upload.offset
        await upload.begin(0)
        try:
            assert isinstance(await upload.finish(False), NotStored)
        except ConnectionLost:
            pass  # protocol version 0 has no INVALID
    async with await _upload(service, key) as upload:
        assert upload.offset >= offset, f"{offset} bytes had arrived, {upload.offset} are left"
    await store(service, content)
    assert await fetch(service, key) == content


async def verifies_after_data_present(service: Service) -> None:
    """`data_present` for content that did not reach the repository stores nothing."""
    key = key_of(b"elsewhere")
    async with await _upload(service, key) as upload:
        try:
            assert isinstance(await upload.data_present(), NotStored), "absent content is reported as stored"
        except Unsupported:
            pass
    await _still_absent(service, key)
    await store(service, b"elsewhere")


async def takes_one_content_twice_at_once(service: Service) -> None:
    """Of two uploads of one key at the same time, each is stored, refused or gets AlreadyHave; the content is right."""
    content = sample(3 << 20)
    key = key_of(content)
    outcomes: list[object] = []

    async def one() -> None:
        try:
            upload = await service.put(key)
            if isinstance(upload, AlreadyHave):
                outcomes.append(upload)
                return
            async with upload:
                await upload.begin(len(content) - upload.offset)
                for start in range(upload.offset, len(content), 1 << 20):
                    await upload.send_all(memoryview(content)[start : start + (1 << 20)])
                    await trio.sleep(0.01)
                outcomes.append(await upload.finish(True))
        except RemoteError as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    assert any(isinstance(outcome, Stored) for outcome in outcomes), f"neither was stored: {outcomes}"
    assert await fetch(service, key) == content


UPLOAD_CHECKS = (
    resumes_an_upload_that_was_left,
    resumes_a_small_upload_too,
    does_not_store_damaged_content,
    does_not_trust_a_damaged_beginning,
    does_not_store_a_part,
    does_not_store_too_much,
    verifies_what_its_sender_calls_invalid,
    does_not_resume_from_invalid_content,
    reports_the_offset_alone,
    verifies_after_data_present,
    takes_one_content_twice_at_once,
)
