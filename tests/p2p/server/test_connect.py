"""CONNECT."""

from __future__ import annotations

import trio
import trio.testing

from p2pannex.stores.memory import MemoryStore
from tests.p2p.server.talk import U, store, talking


class Git(MemoryStore):
    """A store with a program behind it that says back what it hears, in capitals, and ends at a dot."""

    def __init__(self) -> None:
        super().__init__(U)
        self.programs: list[str] = []

    async def connect(self, program: str, stream: trio.abc.HalfCloseableStream) -> int:
        self.programs.append(program)
        async for data in stream:
            await stream.send_all(data.upper())
            if b"." in data:
                return 7
        return 128


async def test_connect() -> None:
    here = Git()
    async with talking(here) as talk:
        await talk.say(b"CONNECT git-upload-pack\n")
        await talk.ask(b"DATA 3\nabc", b"DATA 3\nABC")
        await talk.ask(b"DATA 0\nDATA 2\nd.", b"DATA 2\nD.CONNECTDONE 7\n")
        await talk.closed()
    assert here.programs == ["git-upload-pack"]
    assert talk.problem is None


async def test_connect_where_there_is_no_git_repository() -> None:
    async with talking(store()) as talk:
        await talk.ask(b"CONNECT git-upload-pack\n", b"ERROR there is no git repository here\n")
        await talk.closed()
    assert talk.problem is None


async def test_connect_to_anything_else_is_no_command() -> None:
    here = Git()
    async with talking(here) as talk:
        await talk.ask(b"CONNECT git-upload-archive\n", b"ERROR unknown command\n")
        await talk.ask(b"CONNECT /bin/sh\n", b"ERROR unknown command\n")
        await talk.idle()
    assert not here.programs


async def test_in_connect_the_end_is_told_to_the_program_and_its_exit_code_to_the_client() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.stream.send_eof()
        await talk.hear(b"CONNECTDONE 128\n")
        await talk.closed()


async def test_in_connect_a_bad_line_ends_it() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.ask(b"FOO\n", b"ERROR expected DATA\n")
        await talk.closed()


async def test_in_connect_a_client_may_give_up() -> None:
    async with talking(Git()) as talk:
        await talk.say(b"CONNECT git-receive-pack\n")
        await talk.say(b"ERROR no\n")
        await talk.closed()


async def test_in_connect_silence_is_no_fault(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(Git(), timeout=60) as talk:
        await talk.say(b"CONNECT git-upload-pack\n")
        await trio.sleep(10_000)
        await talk.ask(b"DATA 1\n.", b"DATA 1\n.CONNECTDONE 7\n")
