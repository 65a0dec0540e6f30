"""The command line for ssh, and the environment variables that replace ssh, honoured by a real child process."""

import shlex
import sys
from pathlib import Path

import pytest

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.dial import open_ssh_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.transports.process import ProcessEnded, Unreachable
from p2pannex.transports.ssh import InvalidHost, quote, remote_command, ssh_argv

UUID = "11111111-2222-4333-8444-555555555555"
CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_SSH", "GIT_SSH_COMMAND", "P2PANNEX_REMOTE_SHELL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("port", "user", "environ", "argv"),
    [
        (None, None, {}, ["ssh", "-T", "host", "cmd"]),
        (2222, "me", {}, ["ssh", "-T", "-p", "2222", "me@host", "cmd"]),
        (None, None, {"GIT_SSH": "/opt/my ssh"}, ["/opt/my ssh", "host", "cmd"]),
        (22, None, {"GIT_SSH": "x"}, ["x", "-p", "22", "host", "cmd"]),
        (22, None, {"GIT_SSH_COMMAND": "ssh -v"}, ["sh", "-c", 'ssh -v "$@"', "ssh -v", "-p", "22", "host", "cmd"]),
        (None, None, {"GIT_SSH": "x", "GIT_SSH_COMMAND": "y"}, ["sh", "-c", 'y "$@"', "y", "host", "cmd"]),
        (None, None, {"GIT_SSH": "", "GIT_SSH_COMMAND": ""}, ["ssh", "-T", "host", "cmd"]),
    ],
)
def test_the_command_line(port: int | None, user: str | None, environ: dict[str, str], argv: list[str]) -> None:
    assert ssh_argv("host", port, user, "cmd", environ=environ) == argv


@pytest.mark.parametrize(("host", "user"), [("-oProxyCommand=x", None), ("", None), ("host", "-l"), ("host", "")])
def test_no_host_or_user_can_be_taken_for_an_option(host: str, user: str | None) -> None:
    with pytest.raises(InvalidHost, match="is not the name of"):
        ssh_argv(host, None, user, "cmd", environ={})


def test_the_remote_command_is_git_annexs() -> None:
    assert remote_command("/dir", CLIENT, "git-annex-shell") == f"git-annex-shell 'p2pstdio' '/dir' '{CLIENT}'"
    assert remote_command("/~/x", CLIENT, "/opt/x -v", uuid=UUID) == (
        f"/opt/x -v 'p2pstdio' '/~/x' '{CLIENT}' --uuid '{UUID}'"
    )


@pytest.mark.parametrize("word", ["it's", "a b", "$HOME", "a\\b", '"', "", "`id`;id", "''"])
def test_quoting_survives_a_shell(word: str) -> None:
    assert shlex.split(f"x {quote(word)} y") == ["x", word, "y"]


@pytest.fixture
def fake_ssh(tmp_path: Path) -> Path:
    """A program that notes its arguments and, instead of going anywhere, runs the remote command in a shell here."""
    program = tmp_path / "fake ssh"
    program.write_text(
        f'#!/bin/sh\nfor each; do echo "$each" >> {tmp_path}/arguments; last=$each; done\n'
        '[ "$1" != --down ] || { echo "ssh: no route" >&2; exit 255; }\nexec sh -c "$last"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def server(tmp_path: Path) -> str:
    """What stands in for git-annex-shell: it notes how it was called, greets, and answers one question."""
    script = tmp_path / "server.py"
    script.write_text(
        f"import sys\nopen({str(tmp_path / 'called')!r}, 'w').write(repr(sys.argv[1:]))\n"
        f"print('AUTH-SUCCESS {UUID}', flush=True)\n"
        "for line in sys.stdin:\n    print(line.strip(), flush=True)\n"
    )
    return f"{sys.executable} {script}"


@pytest.mark.parametrize("variable", ["GIT_SSH", "GIT_SSH_COMMAND"])
async def test_a_program_in_the_place_of_ssh_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_ssh: Path, server: str, variable: str
) -> None:
    value = str(fake_ssh) if variable == "GIT_SSH" else f"{shlex.quote(str(fake_ssh))} -F 'a config'"
    monkeypatch.setenv(variable, value)

    async def dial() -> Peer:
        return await open_ssh_peer("h", "/it's here", port=2222, user="u", uuid=UUID, client_uuid=CLIENT, shell=server)

    async with await Remote.open(dial) as remote:
        assert remote.uuid == UUID
    command = remote_command("/it's here", CLIENT, server, uuid=UUID)
    options = [] if variable == "GIT_SSH" else ["-F", "a config"]
    assert (tmp_path / "arguments").read_text().splitlines() == [*options, "-p", "2222", "u@h", command]
    assert (tmp_path / "called").read_text() == repr(["p2pstdio", "/it's here", CLIENT, "--uuid", UUID])


async def failure_of(monkeypatch: pytest.MonkeyPatch, snippet: str, shell: str = "git-annex-shell") -> ConnectionLost:
    monkeypatch.setenv("GIT_SSH_COMMAND", snippet)
    with pytest.raises(ConnectionLost) as caught:
        await Remote.open(lambda: open_ssh_peer("example.org", "/d", shell=shell, capture_stderr=True))
    return caught.value


async def test_exit_status_255_is_a_host_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, fake_ssh: Path
) -> None:
    failure = await failure_of(monkeypatch, f"{shlex.quote(str(fake_ssh))} --down")
    assert isinstance(failure, Unreachable)
    assert str(failure) == "could not reach example.org (exit status 255): ssh: no route"


async def test_a_program_missing_over_there_is_another_failure(monkeypatch: pytest.MonkeyPatch, fake_ssh: Path) -> None:
    failure = await failure_of(monkeypatch, shlex.quote(str(fake_ssh)), shell="no-such-program")
    assert isinstance(failure, ProcessEnded)
    assert not isinstance(failure, Unreachable)
    assert str(failure).startswith("example.org: command not found (exit status 127): ")
    assert "no-such-program" in str(failure)


async def test_the_real_ssh_reports_that_the_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = await failure_of(monkeypatch, "ssh -F /dev/null -p 1 -o BatchMode=yes -o HostName=127.0.0.1")
    assert isinstance(failure, Unreachable)
    assert "refused" in str(failure)
