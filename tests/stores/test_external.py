"""What special remotes do wrong, and what their programs ask for: real programs, in real trouble."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from pathlib import Path

import pytest
import trio

from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import NotStored, Removal, Stored, Upload
from p2pannex.stores.external.messages import LINE_MAX, BadLine, Lines, check_present, split_job
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.external.store import ExternalStore
from p2pannex.system.clock import SystemClock
from p2pannex.testing.samples import fetch, key_of, sample, store

PLAIN = Path(__file__).parent / "special_remotes" / "plain.py"
UUID = "0c0c0c0c-1111-2222-3333-444444444444"


class Remote:
    """A special remote in a directory, and the ways to get it into trouble."""

    def __init__(self, path: Path, *words: str) -> None:
        self.path = path
        self.words = words
        self.heard: list[str] = []
        self.clock = Clock()
        (path / "trouble").mkdir(parents=True)

    def open(self, spool: Spool | None = None, timeout: float = 5, **config: str) -> ExternalStore:
        return ExternalStore(
            UUID,
            [sys.executable, "-I", "-S", str(PLAIN), *self.words],
            {"directory": str(self.path / "cloud"), **config},
            spool or self.path / "spool",
            self.path / "state",
            name="cloud",
            timeout=timeout,
            transfer_timeout=timeout,
            environment={**os.environ, "TROUBLE": str(self.path / "trouble")},
            inform=self.heard.append,
            clock=self.clock,
        )

    def trouble(self, verb: str, how: str, *, always: bool = False) -> None:
        (self.path / "trouble" / verb).write_text(f"{how} {'always' if always else 'once'}")

    @property
    def prepared(self) -> int:
        """How many programs were started."""
        return len((self.path / "prepared").read_text())

    @property
    def spooled(self) -> list[Path]:
        return [path for path in (self.path / "spool").rglob("*") if path.is_file()]


class Clock(SystemClock):
    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture(params=[(), ("2", "async")], ids=["one at a time", "async"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote", *request.param)


# Trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "it ended with exit status 3 (it complained: something broke; the password was ***)"),
        ("garbage", "is of no job"),
        ("unknown", "'GETFOO', which is no message"),
        ("huge", "a line that is too long"),
        ("hang", "it takes longer than 0.5 s to answer CHECKPRESENT"),
        ("chatter", "it takes longer than 0.5 s to answer CHECKPRESENT"),
        ("other", "it answered CHECKPRESENT with CHECKPRESENT-SUCCESS about something else"),
        ("error", "it is all too much, ***"),
        ("eof", "it closed its output"),
        ("unknowable-only", "cannot tell whether the content is there: the cloud is away"),
    ],
)
async def test_a_program_in_trouble_is_told_of_and_replaced(how: str, said: str, remote: Remote) -> None:
    if how == "garbage" and not remote.words:
        said = "which is no message of this protocol"
    async with remote.open(timeout=0.5 if how in ("hang", "chatter") else 5) as external:
        remote.trouble("CHECKPRESENT", how)
        with pytest.raises(RemoteError) as caught:
            await external.check_present(key_of(b"x"))
        assert said in str(caught.value)
        assert "special remote cloud" in str(caught.value)
        assert "pass word" not in str(caught.value)
        key = await store(external, b"afterwards")
        assert await fetch(external, key) == b"afterwards"


async def test_a_program_that_dies_between_requests_is_not_noticed(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"content")
        remote.trouble("CHECKPRESENT", "exit")
        assert await external.check_present(key)
        assert remote.prepared == 2
        remote.trouble("TRANSFER", "exit")
        assert await fetch(external, key) == b"content"
        remote.trouble("REMOVE", "exit")
        assert await external.remove(key) == Removal(True)
        assert not await external.check_present(key)


async def test_a_program_that_always_dies_is_not_started_for_ever(remote: Remote) -> None:
    async with remote.open() as external:
        await external.check_present(key_of(b"x"))
        remote.trouble("CHECKPRESENT", "exit", always=True)
        with pytest.raises(RemoteError, match="exit status 3"):
            await external.check_present(key_of(b"x"))
        assert remote.prepared <= 3


async def test_programs_that_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="there is no program git-annex-remote-nothing"):
        ExternalStore(UUID, "git-annex-remote-nothing", {}, tmp_path / "spool", tmp_path / "state")
    for words, said in ((["echo", "hello"], "began with 'hello'"), (["sleep", "60"], "longer than 0.2 s to greet")):
        async with ExternalStore(UUID, words, {}, tmp_path / "spool", tmp_path / "state", timeout=0.2) as external:
            with pytest.raises(RemoteError, match=said):
                await external.check_present(key_of(b"x"))
    with pytest.raises(RemoteError, match="has a space"):
        ExternalStore(UUID, "echo", {}, tmp_path / "a spool", tmp_path / "state")


def children() -> set[str]:
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


async def test_nothing_is_left_running(remote: Remote) -> None:
    before = (set(os.listdir("/proc/self/fd")), children())
    async with remote.open() as external:
        await store(external, b"content")
        remote.trouble("CHECKPRESENT", "hang")
        with trio.move_on_after(0.2) as scope:
            await external.check_present(key_of(b"x"))
        assert scope.cancelled_caught
        assert not await external.check_present(key_of(b"x"))
    assert (set(os.listdir("/proc/self/fd")), children()) == before


# Content ---------------------------------------------------------------------------------------------------------


async def test_what_could_not_be_delivered_is_not_sent_again(remote: Remote) -> None:
    content = sample(300_000)
    key = key_of(content)
    async with remote.open() as external:
        for how in ("fail-only", "exit", "garbage"):
            remote.trouble("TRANSFER", how, always=True)
            upload = await external.put(key)
            assert isinstance(upload, Upload)
            async with upload:
                await upload.begin(len(content) - upload.offset)
                await upload.send_all(memoryview(content)[upload.offset :])
                with pytest.raises(RemoteError):
                    await upload.finish(True)
            assert not await external.check_present(key)
        os.unlink(remote.path / "trouble" / "TRANSFER")
    async with remote.open() as external:
        upload = await external.put(key)
        assert isinstance(upload, Upload)
        async with upload:
            assert upload.offset == len(content)
            await upload.begin(0)
            assert isinstance(await upload.finish(True), Stored)
        assert await fetch(external, key, 1000) == content[1000:]
    assert not remote.spooled


async def test_one_spooled_file_is_handed_to_several(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    remotes = [Remote(tmp_path / name) for name in ("one", "two", "three")]
    content = sample(2 << 20)
    key = key_of(content)
    stores = [remote.open(spool) for remote in remotes]
    remotes[1].trouble("TRANSFER", "fail-only", always=True)
    outcomes: dict[int, str] = {}

    async def send(number: int, path: bytes) -> None:
        try:
            await stores[number].store_file(key, path)
            outcomes[number] = "stored"
        except RemoteError as error:
            outcomes[number] = str(error)

    async def deliver(path: bytes) -> Stored | NotStored:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(send, number, path)
        return Stored()

    async def present() -> bool:
        return False

    upload = await spool.upload(key, deliver, present)
    assert upload is not None
    async with upload:
        await upload.begin(len(content))
        await upload.send_all(memoryview(content))
        assert len([path for path in (tmp_path / "spool").rglob("*") if path.is_file()]) == 1
        await upload.finish(True)
    assert outcomes[0] == outcomes[2] == "stored"
    assert outcomes[1].endswith("special remote cloud cannot store the content: the cloud is away")
    assert [await external.check_present(key) for external in stores] == [True, False, True]
    for external in stores:
        await external.aclose()


async def test_the_disk_reserve_is_kept(remote: Remote) -> None:
    spool = Spool(remote.path / "spool", disk_reserve=1 << 60)
    async with remote.open() as external:
        key = await store(external, sample(1 << 20))
    async with remote.open(spool) as external:
        with pytest.raises(RemoteError, match="not enough disk space"):
            await external.put(key_of(sample(1 << 20, seed=1)))
        with pytest.raises(RemoteError, match="not enough disk space"):
            await external.get(key)


async def test_content_that_the_remote_damaged_or_did_not_fetch(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"0123456789")
        remote.trouble("TRANSFER", "nothing-only")
        with pytest.raises(RemoteError, match="and has not"):
            await external.get(key)
        remote.trouble("TRANSFER", "fail-only")
        with pytest.raises(RemoteError, match="cannot fetch the content: the cloud is away"):
            await external.get(key)
        (file,) = (remote.path / "cloud").iterdir()
        file.write_bytes(b"0123")
        with pytest.raises(RemoteError, match="4 bytes of 10"):
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


# Time ------------------------------------------------------------------------------------------------------------


async def test_the_deadline_is_looked_at_when_the_program_is_free(remote: Remote) -> None:
    """It has not passed when the removal is asked for, and has when there is a program to do it."""
    async with remote.open() as external:
        key = await store(external, b"kept")
        deadline = await external.timestamp() + 1000
    remote.trouble("PREPARE", "slow")
    async with remote.open() as external:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def jump() -> None:
                await trio.sleep(0.1)
                remote.clock.ahead = 1000

            removal = await external.remove(key, before=deadline)
        assert removal == Removal(False)
        assert await external.check_present(key)
        remote.clock.ahead = 0
        assert await external.remove(key, before=deadline) == Removal(True)


async def test_a_removal_that_hangs_is_killed_at_its_deadline(remote: Remote) -> None:
    async with remote.open() as external:
        key = await store(external, b"kept")
        remote.trouble("REMOVE", "hang")
        with pytest.raises(RemoteError, match="to answer REMOVE"):
            await external.remove(key, before=await external.timestamp() + 1)
        assert await external.check_present(key)


async def test_a_removal_that_was_sent_is_waited_for(remote: Remote) -> None:
    """Else it could still happen after the content was stored again."""
    async with remote.open() as external:
        key = await store(external, b"removed")
        remote.trouble("REMOVE", "slow")
        with trio.move_on_after(0.1):
            await external.remove(key)
        assert not await external.check_present(key)
        assert remote.prepared == 1


# Settings --------------------------------------------------------------------------------------------------------


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
        with pytest.raises(RemoteError, match="no message of this protocol"):
            await external.check_present(key_of(b"x"))
        await external.check_present(key_of(b"x"))


def test_damaged_settings_are_told_of(remote: Remote) -> None:
    (remote.path / "state").mkdir()
    (remote.path / "state" / "config.json").write_text("{")
    with pytest.raises(RemoteError, match=r"config.json are damaged"):
        remote.open()


def test_lines_are_bounded() -> None:
    lines = Lines()
    lines.feed(b"a\nb")
    assert lines.next() == b"a"
    assert lines.next() is None
    lines.feed(b"c\n\n")
    assert [lines.next(), lines.next(), lines.next()] == [b"bc", b"", None]
    lines.feed(b"x" * LINE_MAX + b"\n")
    assert lines.next() == b"x" * LINE_MAX
    with pytest.raises(BadLine):
        lines.feed(b"x" * (LINE_MAX + 1))


def test_replies_are_of_what_was_asked() -> None:
    request = check_present(b"A--x")
    assert request.reply(b"GETCONFIG a") is None
    reply = request.reply(b"CHECKPRESENT-UNKNOWN A--x no \x1b[31m way")
    assert reply is not None
    assert reply.reason == "no  [31m way"
    for line in (b"CHECKPRESENT-SUCCESS A--xy", b"CHECKPRESENT-SUCCESS", b"CHECKPRESENT-FAILURE A--y A--x"):
        with pytest.raises(BadLine):
            request.reply(line)
    assert split_job(b"J 12 VALUE a b") == (12, b"VALUE a b")
    for line in (b"J x VALUE", b"J  VALUE", b"J -1 VALUE"):
        with pytest.raises(BadLine):
            split_job(line)


def test_files_in_the_spool_that_nobody_waits_for_are_removed(tmp_path: Path) -> None:
    Spool(tmp_path)
    for name in ("up/old", "up/used", "up/new", "down/old", "down/new"):
        (tmp_path / name).write_bytes(b"x")
        if "new" not in name:
            os.utime(tmp_path / name, (0, 0))
    with (tmp_path / "up" / "used").open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        Spool(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["down/new", "up/new", "up/used"]


async def test_settings_that_are_passwords_by_their_name_are_in_no_error(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    remote.trouble("CHECKPRESENT", "error")
    async with remote.open(passphrase="all too much", encryption="pass") as external:
        with pytest.raises(RemoteError, match=r"it is \*\*\*, \*\*\*"):
            await external.check_present(key_of(b"x"))
