"""Each restriction, at each way in: what is refused, cell by cell."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pannex.access import Mode, TokenFile
from p2pannex.errors import RemoteError
from p2pannex.p2p.listen import serve_listeners
from p2pannex.p2p.server import HANDLERS
from p2pannex.protocol.messages import MESSAGES
from p2pannex.restrictions import (
    APPEND_ONLY,
    COMMANDS,
    DIRECTORY,
    LIMITED,
    OTHER,
    READ_ONLY,
    REQUESTS,
    RESTRICTIONS,
    Restrictions,
)
from p2pannex.stores.annex.store import AnnexStore
from p2pannex.transports.listeners import open_listeners
from p2pannex.transports.sockets import UnixAddress
from p2pannex.urls import open_url
from tests.cli.shell.shell import PROGRAM, Shell
from tests.p2p.server.talk import talking
from tests.support.restricted import ACTIONS, CLIENT, LINES, refused

ROOT = Path(__file__).parent.parent

REFUSED = {
    READ_ONLY: {
        "PUT",
        "REMOVE",
        "REMOVE-BEFORE",
        "CONNECT git-receive-pack",
        "configlist autoinit",
        "dropkey",
        "git-receive-pack",
        OTHER,
    },
    APPEND_ONLY: {"REMOVE", "REMOVE-BEFORE", "CONNECT git-receive-pack", "dropkey", OTHER},
    LIMITED: {
        "CONNECT git-receive-pack",
        "CONNECT git-upload-pack",
        "git-receive-pack",
        "git-upload-archive",
        "git-upload-pack",
        OTHER,
    },
    DIRECTORY: {OTHER},
}
"""What each restriction refuses. Everything else is allowed."""


def test_the_table() -> None:
    assert {each: {name for name in ACTIONS if Restrictions(each).refusing(name)} for each in RESTRICTIONS} == REFUSED
    assert REFUSED[APPEND_ONLY] < REFUSED[READ_ONLY], "who may only read may not do what an appending client may not"


def test_the_table_has_every_request() -> None:
    requests = {name.split()[0].encode() for name in REQUESTS}
    assert requests == {message.verb for message in HANDLERS}
    assert requests <= set(MESSAGES)


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_what_is_not_in_the_table_is_refused(restriction: str) -> None:
    assert Restrictions(restriction).refusing("NEWREQUEST") == restriction
    assert Restrictions().refusing("NEWREQUEST") is None


def test_the_page_is_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "tools/access_table.py", "--check"], check=True)


# Over the protocol -----------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository.git"
    initialise(path)
    return path


def initialise(path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
        subprocess.run(["git", "-C", path, "config", setting, value], check=True)


MODES = {READ_ONLY: (Mode.READ_ONLY, False), APPEND_ONLY: (Mode.APPEND_ONLY, False), LIMITED: (Mode.READ_WRITE, True)}


@pytest.mark.parametrize("action", REQUESTS)
@pytest.mark.parametrize("restriction", [None, *MODES])
async def test_requests(repository: Path, restriction: str | None, action: str) -> None:
    mode, limited = MODES.get(restriction or "", (Mode.READ_WRITE, False))
    async with AnnexStore(repository) as store, talking(store, mode=mode, limited=limited) as talk:
        await talk.say(LINES[action].encode() + b"\nCHECKPRESENT not-a-request-that-waits\n")
        with trio.move_on_after(10):
            while not talk.heard and (data := await talk.stream.receive_some(65536)):
                talk.heard += data
        is_refused = talk.heard.startswith(b"ERROR ") and b"denied" in talk.heard
        assert is_refused == (restriction is not None and action in REFUSED[restriction]), talk.heard
        talk.heard.clear()


@pytest.mark.parametrize("restriction", MODES)
async def test_a_socket(repository: Path, tmp_path: Path, restriction: str) -> None:
    mode, limited = MODES[restriction]
    listeners = await open_listeners(UnixAddress(f"{tmp_path}/socket"))
    tokens = TokenFile(tmp_path)
    token, _ = tokens.create()
    async with AnnexStore(repository) as store, trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_listeners, listeners, store, tokens=tokens, mode=mode, limited=limited))
        async with await open_url(f"unix:{tmp_path}/socket", token=token) as remote:
            for program in ("git-receive-pack", "git-upload-pack"):
                near, far = trio.testing.memory_stream_pair()
                await far.send_all(b"0000")
                if f"CONNECT {program}" in REFUSED[restriction]:
                    with pytest.raises(RemoteError, match="denied"):
                        await remote.connect(program, near)
                else:
                    assert await remote.connect(program, near) == 0
        nursery.cancel_scope.cancel()


# Commands of p2pannex-shell --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [*COMMANDS, "CONNECT git-receive-pack", "CONNECT git-upload-pack", "PUT", "REMOVE"])
def test_commands(repository: Path, tmp_path: Path, action: str) -> None:
    shell = Shell(tmp_path)
    program = [sys.executable, "-c", PROGRAM]
    if action == "configlist autoinit":
        subprocess.run(["git", "-C", repository, "config", "--unset", "annex.uuid"], check=True)
    once = action in {"p2pstdio", "configlist autoinit"}  # they are never refused, or change what comes after
    restrictions = [READ_ONLY] if once else [READ_ONLY, APPEND_ONLY, LIMITED]
    for restriction in restrictions:
        found = refused(program, action, repository, shell.environment, restriction)
        assert found == (action in REFUSED[restriction]), restriction
    allowed = refused(program, action, repository, shell.environment, DIRECTORY, value=str(repository))
    assert allowed == (action in REFUSED[DIRECTORY])
    assert refused(program, action, repository, shell.environment, DIRECTORY, value=str(tmp_path))
