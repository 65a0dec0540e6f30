"""What special remote programs ask for, and what is kept for them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.testing.samples import key_of
from tests.stores.external.special_remote import UUID, Remote


async def test_what_a_program_asks_for(remote: Remote) -> None:
    remote.trouble("GETCOST", "questions")
    async with remote.open() as external:
        assert await external.cost() == 150
        assert await external.availability() == "LOCAL"
        assert await external.wanted() == "include=*.flac"
    assert remote.heard == ["hello people, ***"]
    assert (remote.path / "trouble" / "heard").read_bytes().decode().split("\n") == [
        UUID,
        str(remote.path / "state"),
        "cloud",
        "include=*.flac",
        "a b",
        "k1/mw/",  # as git-annex has it, and with a slash
        "811/b3d/",
        " ",
        "user pass word",
        str(remote.path / "cloud"),
        "",
        "yes",
        "http://a/b",
        "",
    ]
    for path in (remote.path / "state").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((remote.path / "state").stat().st_mode) == 0o700


async def test_a_remote_is_initialised_once_for_each_configuration(remote: Remote) -> None:
    async with remote.open() as external:
        await external.check_present(key_of(b"x"))
    remote.trouble("INITREMOTE", "unknown")
    async with remote.open() as external:
        await external.check_present(key_of(b"x"))
    async with remote.open(more="yes") as external:
        with pytest.raises(RemoteError, match="not a message of this protocol"):
            await external.check_present(key_of(b"x"))
        await external.check_present(key_of(b"x"))


def test_damaged_settings_are_told_of(remote: Remote) -> None:
    (remote.path / "state").mkdir()
    (remote.path / "state" / "config.json").write_text("{")
    with pytest.raises(RemoteError, match=r"config.json is damaged"):
        remote.open()


async def test_settings_that_are_passwords_by_their_name_are_in_no_error(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    remote.trouble("CHECKPRESENT", "error")
    async with remote.open(passphrase="all too much", encryption="pass") as external:
        with pytest.raises(RemoteError, match=r"it is \*\*\*, \*\*\*"):
            await external.check_present(key_of(b"x"))


def test_a_directory_that_others_could_enter_is_closed(remote: Remote) -> None:
    """It has passwords."""
    (remote.path / "state").mkdir()
    (remote.path / "state").chmod(0o755)
    remote.open()
    assert stat.S_IMODE((remote.path / "state").stat().st_mode) == 0o700
