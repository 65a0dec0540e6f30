"""The transcripts of protocol-spec, held against the bare protocol and against `serve` over each store."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pannex.access import Mode
from p2pannex.p2p.peer import StreamPeer
from p2pannex.p2p.server import serve
from p2pannex.protocol import ConnectionLost, Side
from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.player import Player, cases
from p2pannex.testing.replay import replay
from p2pannex.testing.transcripts import (
    BadTranscript,
    Mismatch,
    Transcript,
    Values,
    content,
    load_transcripts,
    parse_transcript,
)
from p2pannex.transports.descriptor import DescriptorStream

SPEC = Path(__file__).parents[2] / "protocol-spec"
ALL = frozenset(range(5))
TRANSCRIPTS = load_transcripts()


def named(case: object) -> str:
    return case.name if isinstance(case, Transcript) else f"{case}"


@pytest.mark.parametrize(("transcript", "version"), list(cases(TRANSCRIPTS, ALL)), ids=named)
def test_the_law_allows_it(transcript: Transcript, version: int) -> None:
    replay(transcript, version)


@asynccontextmanager
async def playing_with(store: Service) -> AsyncIterator[Player]:
    """A player whose servers are tasks here, one a connection, all over one store."""

    async def serve_one(end: socket.socket, mode: str) -> None:
        try:
            await serve(StreamPeer(DescriptorStream.over_socket(end), Side.SERVER, timeout=5), store, mode=Mode(mode))
        except ConnectionLost:
            pass  # a client left in the middle of something, which some transcripts are about

    async def open_stream(mode: str) -> DescriptorStream:
        ours, theirs = socket.socketpair()
        nursery.start_soon(serve_one, theirs, mode)
        return DescriptorStream.over_socket(ours)

    async with trio.open_nursery() as nursery:
        player = Player(open_stream, run="t", timeout=5)
        yield player
        await player.aclose()


PLAYED = list(cases([transcript for transcript in TRANSCRIPTS if not transcript.needs], ALL))


@pytest.fixture(params=["memory", "directory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Service]:
    if request.param == "memory":
        return MemoryStore
    return lambda: DirectoryStore.create(tmp_path / "store")


@pytest.mark.parametrize(("transcript", "version"), PLAYED, ids=named)
async def test_serve_says_so(transcript: Transcript, version: int, make_store: Callable[[], Service]) -> None:
    async with make_store() as store, playing_with(store) as player:
        await player.play(transcript, version)


@pytest.mark.parametrize(
    ("transcript", "version"),
    [case for case in cases(TRANSCRIPTS, ALL) if case[0].needs and case[0].needs <= {"files", "waiting"}],
    ids=named,
)
async def test_a_store_of_files_says_so(transcript: Transcript, version: int, tmp_path: Path) -> None:
    async with DirectoryStore.create(tmp_path / "store") as store, playing_with(store) as player:
        await player.play(transcript, version)


async def test_what_was_put_is_removed_again() -> None:
    store = MemoryStore()
    async with playing_with(store) as player:
        for transcript in TRANSCRIPTS:
            if transcript.name in ("checkpresent", "put", "put-resume", "put-odd-names"):
                await player.play(transcript, 4)
    assert not store.contents


def made(*steps: str, header: str = "section 1\nversions 0-4\n") -> Transcript:
    return parse_transcript("made", f"# Made.\n{header}" + "\n".join(steps))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (["C: CHECKPRESENT {key:hello}", "S: SUCCESS"], "- S: SUCCESS\n+ FAILURE"),
        (["C: CHECKPRESENT {key:hello}", "S: FAILURE", "S: FAILURE"], "nothing came"),
        (["C: BYPASS", "server closes"], "nothing came"),
        (["C: ERROR no", "S: FAILURE"], "+ (the server closed)"),
        (["C: CHECKPRESENT {key:hello}", "C: FOO", "S: FAILURE"], "got the reply ERROR unknown command"),
        (["C: ERROR no", "C: FOO"], "got the reply (the server closed)"),
        (["C: GETTIMESTAMP", "S: TIMESTAMP x{number}"], "- S: TIMESTAMP x{number}"),
        (["client closes", "S: FAILURE"], "+ (the server closed)"),
    ],
)
async def test_a_server_that_does_something_else_is_told_apart(steps: list[str], problem: str) -> None:
    async with playing_with(MemoryStore()) as player:
        player.timeout = 0.2
        with pytest.raises(Mismatch) as caught:
            await player.play(made(*steps), 4)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (["C: FOO"], "the protocol rules require a reply: S: ERROR unknown command"),
        (["C: FOO", "S: ERROR unexpected command"], "the protocol rules require: S: ERROR unknown command"),
        (["C: CHECKPRESENT {key:a}", "S: ERROR unknown command"], "the protocol rules allow the line before"),
        (["C: CHECKPRESENT {key:a}", "S: TIMESTAMP 5"], "may not send TIMESTAMP"),
        (["C: CHECKPRESENT {key:a}"], "is at ANSWER, not IDLE"),
        (["C: LOCKCONTENT {key:a}", "S: SUCCESS"], "is at LOCKED, not IDLE"),
        (["C: PUT  {key:a}", "S: PUT-FROM 0", "C: DATA 1", "C= ab", "C: VALID"], "not bytes of the body"),
        (["C: GET 0  {key:a}", "S: DATA 1", "S= ab"], "2 bytes sent, 1 were still to be sent"),
        (["server closes"], "nothing makes the server close"),
        (["C: CHECKPRESENT {key:a}", "S! FAILURE"], "the client accepted it"),
        (["C: FOO", "client closes"], "has not replied"),
    ],
)
def test_a_transcript_that_breaks_the_law_is_told_apart(steps: list[str], problem: str) -> None:
    with pytest.raises(Mismatch) as caught:
        replay(made(*steps), 4)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "section 1\nversions 0-4\nC: X",
        "# T\nversions 0-4\nC: X",
        "# T\nsection 1\nC: X",
        "# T\nsection 1\nversions 0-4",
        "# T\nsection 1\nversions 0-4\nD: X",
        "# T\nsection 1\nversions 0-4\n[somebody] C: X",
        "# T\nsection 1\nversions 0-4\nC: X\npresent hello",
        "# T\nsection 1\nversions 0-4\nopening other\nC: X",
    ],
)
def test_what_is_no_transcript_is_refused(text: str) -> None:
    with pytest.raises(BadTranscript):
        parse_transcript("made", text)


def test_placeholders() -> None:
    values = Values(3, "r1")
    assert values.line(r"A\x00\r\t\\\{ {version} {x*3} {number+5}") == b"A\x00\r\t\\{ 3 xxx 1005\n"
    assert values.line("{key:hello}").startswith(b"SHA256E-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e7304")
    assert values.line("{key:hello}").endswith(b".r1\n")
    assert content("@10[2:5]") == content("@10")[2:5]
    assert len(content("@70000")) == 70000
    assert values.matches("TIMESTAMP {number}", b"TIMESTAMP 42")
    assert values.line("{number+1}") == b"43\n"
    assert not values.matches("TIMESTAMP {number}", b"TIMESTAMP 42 ")
    assert values.matches("ERROR {text}", b"ERROR whatever it was")
    assert not values.matches("AUTH-SUCCESS {uuid}", b"AUTH-SUCCESS who")
    assert values.matches("AUTH-SUCCESS {uuid}", b"AUTH-SUCCESS 11111111-2222-3333-4444-555555555555")
    assert values.line("{uuid}") == b"11111111-2222-3333-4444-555555555555\n"
    with pytest.raises(BadTranscript):
        values.line("{nothing}")


def test_every_section_that_is_cited_exists() -> None:
    headings = "\n".join(file.read_text() for file in SPEC.glob("[0-9]*.md"))
    sections = set(re.findall(r"^#+ ([0-9.]+) ", headings, re.MULTILINE))
    cited = {transcript.section for transcript in TRANSCRIPTS}
    assert cited <= sections, cited - sections
    assert {f"{number}" for number in range(1, 14)} <= sections


def test_every_difference_is_explained() -> None:
    """A transcript that tells two variants names its rows of deviations.md, and each row is shown somewhere."""
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]*) \|$", (SPEC / "deviations.md").read_text(), re.MULTILINE)
    shown = {name: re.findall(r"`([^`]+)`", where) for name, where in rows}
    assert len(rows) == len(shown) > 10
    for transcript in TRANSCRIPTS:
        tells_two = any(len(step.variants) == 1 for step in transcript.steps)
        assert tells_two <= bool(transcript.differs), transcript.name
        for name in transcript.differs:
            assert transcript.name in shown[name], f"{transcript.name} is not in the row of {name}"
    by_name = {transcript.name: transcript for transcript in TRANSCRIPTS}
    for name, places in shown.items():
        assert places, name
        for place in places:
            if place.startswith("tests/"):
                assert (SPEC.parent / place).is_file(), place
            else:
                assert name in by_name[place].differs, f"{place} does not name {name}"
