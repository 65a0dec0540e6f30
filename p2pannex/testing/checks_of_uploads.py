"""What every `Service` does with uploads that are not what they should be: only good content is ever stored."""

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
    assert await service.check_present(key) is False, "it is present all the same"
    assert await fetch(service, key) is None, "it is given all the same"


async def resumes_an_upload_that_was_left(service: Service) -> None:
    """What arrived before an upload was left is not asked for again, and the whole is right in the end."""
    content = sample(4 << 20)
    key = key_of(content)
    async with await _upload(service, key) as upload:
        assert upload.offset == 0, f"nothing was sent yet, and byte {upload.offset} is asked for"
        await upload.begin(len(content))
        await send_pieces(upload, content[: 3 << 20])
    await _still_absent(service, key)
    async with await _upload(service, key) as upload:
        assert 0 < upload.offset <= 3 << 20, f"3 MiB were sent, and byte {upload.offset} is asked for"
    await store(service, content)
    assert await fetch(service, key) == content


async def resumes_a_small_upload_too(service: Service) -> None:
    """An upload that was left, however little was sent, can be made again."""
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
    """Content that is not the key's is not stored, whatever its sender says; the key's own is, later."""
    content = b"0123456789"
    key = key_of(content)
    assert isinstance(await offer(service, b"012345678X", key), NotStored), "content that does not verify was stored"
    await _still_absent(service, key)
    async with await _upload(service, key) as upload:
        assert upload.offset == 0, "content that cannot become right is kept to be resumed"
    await store(service, content)
    assert await fetch(service, key) == content


async def does_not_trust_a_damaged_beginning(service: Service) -> None:
    """A beginning that was kept and is wrong is found out when the rest has come."""
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
    """Content that is shorter than the key says is not stored."""
    content = b"0123456789"
    for key in (key_of(content), Key(b"WORM-s10-m1--x")):
        async with await _upload(service, key) as upload:
            try:
                await upload.begin(4)
                await upload.send_all(memoryview(b"0123"))
                outcome: object = await upload.finish(True)
            except RemoteError:
                outcome = NotStored()
        assert isinstance(outcome, NotStored), f"4 bytes were stored for a key of 10: {outcome}"
        await _still_absent(service, key)
        await store(service, content, key)
        assert await fetch(service, key) == content


async def does_not_store_too_much(service: Service) -> None:
    """Content that is longer than the key says is not stored."""
    content = b"0123456789"
    for key in (key_of(content), Key(b"WORM-s10-m1--x")):
        async with await _upload(service, key) as upload:
            try:
                await upload.begin(15)
                await upload.send_all(memoryview(content + b"extra"))
                outcome: object = await upload.finish(True)
            except RemoteError:
                outcome = NotStored()
        assert isinstance(outcome, NotStored), f"15 bytes were stored for a key of 10: {outcome}"
        await _still_absent(service, key)
        await store(service, content, key)
        assert await fetch(service, key) == content


async def verifies_what_its_sender_disowns(service: Service) -> None:
    """Content that changed while it was sent is stored only if it verifies, and only where that can be told."""
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
                outcome = None  # an old protocol has no word for it but to close
        if outcome is None:
            continue
        stored = isinstance(outcome, Stored)
        assert not stored or (sent == content and key.verifier().conclusive), "it was stored unverified"
        assert await service.check_present(key) is stored, f"the outcome was {outcome}"
        await store(service, content, key)
        assert await fetch(service, key) == content


async def does_not_resume_from_what_was_disowned(service: Service) -> None:
    """Where nothing but the size can be verified, bytes whose sender said that they are not good are not built on."""
    key = Key(b"WORM-s10-m1--x")
    async with await _upload(service, key) as upload:
        await upload.begin(5)
        await upload.send_all(memoryview(b"XXXXX"))
        try:
            await upload.finish(False)
        except ConnectionLost:
            return  # an old protocol has no word for it
    await _still_absent(service, key)
    await store(service, b"0123456789", key)
    assert await fetch(service, key) == b"0123456789"


async def tells_the_offset_alone(service: Service) -> None:
    """An upload of no bytes that is not valid only asks for the offset: nothing is stored, and nothing is lost."""
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
            pass  # an old protocol has no word for it
    async with await _upload(service, key) as upload:
        assert upload.offset >= offset, f"{offset} bytes were there, {upload.offset} are left"
    await store(service, content)
    assert await fetch(service, key) == content


async def looks_before_it_believes(service: Service) -> None:
    """`data_present` where the content is not there stores nothing."""
    key = key_of(b"elsewhere")
    async with await _upload(service, key) as upload:
        try:
            assert isinstance(await upload.data_present(), NotStored), "nothing came, and it is said to be stored"
        except Unsupported:
            pass
    await _still_absent(service, key)
    await store(service, b"elsewhere")


async def takes_one_content_twice_at_once(service: Service) -> None:
    """Of two uploads of one key at once, each is done, refused or told that the content is there; it is right."""
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
    assert any(isinstance(outcome, Stored) for outcome in outcomes), f"none was stored: {outcomes}"
    assert await fetch(service, key) == content


UPLOAD_CHECKS = (
    resumes_an_upload_that_was_left,
    resumes_a_small_upload_too,
    does_not_store_damaged_content,
    does_not_trust_a_damaged_beginning,
    does_not_store_a_part,
    does_not_store_too_much,
    verifies_what_its_sender_disowns,
    does_not_resume_from_what_was_disowned,
    tells_the_offset_alone,
    looks_before_it_believes,
    takes_one_content_twice_at_once,
)
