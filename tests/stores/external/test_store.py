"""Content that a special remote damages, and keys that it cannot be told of."""

from __future__ import annotations

import pytest

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.testing.samples import fetch, store
from tests.stores.external.special_remote import Remote


async def test_content_that_the_remote_damaged_or_did_not_fetch(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"0123456789")
        remote.trouble("TRANSFER", "nothing-only")
        with pytest.raises(RemoteError, match="but did not fetch the content"):
            await external.get(key)
        remote.trouble("TRANSFER", "fail-only")
        with pytest.raises(RemoteError, match="cannot fetch the content: the cloud is away"):
            await external.get(key)
        (file,) = (remote.path / "cloud").iterdir()
        file.write_bytes(b"0123")
        with pytest.raises(RemoteError, match="4 bytes instead of 10"):
            await external.get(key)
    assert not remote.spooled


async def test_keys_that_no_line_can_hold(remote: Remote) -> None:
    key = Key(b"WORM-s5--a b")
    async with remote.open() as external:
        assert not await external.check_present(key)
        assert await fetch(external, key) is None
        assert (await external.remove(key)).ok
        with pytest.raises(RemoteError, match="git annex migrate"):
            await external.put(key)
