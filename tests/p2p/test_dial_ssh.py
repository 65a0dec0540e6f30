"""ssh URLs: the program that serves is found out, and remembered for each account.

A program in place of ssh counts its runs, and does what a server would: with an ordinary shell, or with a login shell
or forced command that gets the command line as it stands.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.dial import dialer, open_ssh_peer
from p2pannex.p2p.peer import Peer
from p2pannex.p2p.remote import Remote
from p2pannex.transports.process import Unreachable
from p2pannex.url_syntax import SshURL, parse_url

UUID = "11111111-2222-4333-8444-555555555555"

SERVES = f"""#!{sys.executable}
import sys
print("AUTH-SUCCESS {UUID}", flush=True)
for line in sys.stdin:
    print(line.strip(), flush=True)
"""

LOGIN_SHELL = """#!/bin/sh
case $2 in
{name}\\ *) exec {name};;
*) {otherwise};;
esac
"""

REFUSALS = {
    "git-shell's status": "echo \"fatal: unrecognized command '$2'\" >&2; exit 128",
    "git-annex-shell's status": "echo git-annex-shell: git-shell failed >&2; exit 1",
    "nothing": "exit 0",
    "a line on standard output": "echo only git-annex is allowed here",
}


class Host:
    """A server. `programs` are on its PATH, `shell` is the shell of the account."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "bin"
        self.path.mkdir()
        self.shell = "/bin/sh"
        self.log = directory / "commands"
        self.ssh = directory / "ssh"
        self.use("/bin/sh")

    def install(self, name: str, script: str = SERVES) -> Path:
        program = self.path / name
        program.write_text(script)
        program.chmod(0o755)
        return program

    def use(self, shell: str | Path) -> None:
        """Let `shell` get the command line, like the login shell of an account."""
        self.ssh.write_text(
            f'#!/bin/sh\nfor last; do :; done\necho "$last" >> {shlex.quote(str(self.log))}\n'
            f'PATH={shlex.quote(str(self.path))}; export PATH\nexec {shlex.quote(str(shell))} -c "$last"\n'
        )
        self.ssh.chmod(0o755)

    def ran(self) -> list[str]:
        """The programs that were requested since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name in ("GIT_SSH_COMMAND", "P2PANNEX_REMOTE_SHELL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_SSH", str(host.ssh))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return host


async def connect(shell: str | None = None, user: str | None = None) -> str:
    async def dial() -> Peer:
        return await open_ssh_peer("example.org", "/d", user=user, shell=shell, capture_stderr=True)

    async with await Remote.open(dial) as remote:
        return remote.uuid


async def test_the_server_learns_which_repository_is_expected(host: Host) -> None:
    """It may be a gateway, and the repository one of its nodes."""
    host.install("p2pannex-shell")
    url = parse_url(f"ssh://example.org/d?uuid={UUID}")
    assert isinstance(url, SshURL)
    dial = dialer(url, client_uuid="client", timeout=60, capture_stderr=True)
    async with await Remote.open(dial):
        assert shlex.split(host.log.read_text())[-2:] == ["--uuid", UUID]


async def test_p2pannex_shell_alone_is_enough(host: Host) -> None:
    host.install("p2pannex-shell")
    for _ in range(2):
        assert await connect() == UUID
        assert host.ran() == ["p2pannex-shell"]
    assert not (host.directory / "cache").exists()


async def test_git_annex_shell_alone_takes_a_second_connection_once(host: Host) -> None:
    host.install("git-annex-shell")
    assert await connect() == UUID
    assert host.ran() == ["p2pannex-shell", "git-annex-shell"]
    for _ in range(2):
        assert await connect() == UUID
        assert host.ran() == ["git-annex-shell"]
    assert await connect(user="other") == UUID
    assert host.ran() == ["p2pannex-shell", "git-annex-shell"], "another account may have another login shell"


async def test_what_is_remembered_and_wrong_costs_one_connection(host: Host) -> None:
    theirs = host.install("git-annex-shell")
    await connect()
    theirs.unlink()
    host.install("p2pannex-shell")
    host.ran()
    assert await connect() == UUID
    assert host.ran() == ["git-annex-shell", "p2pannex-shell"]
    assert await connect() == UUID
    assert host.ran() == ["p2pannex-shell"]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_login_shell_that_runs_git_annex_shell_only(host: Host, refusal: str) -> None:
    host.install("git-annex-shell")
    host.use(host.install("login", LOGIN_SHELL.format(name="git-annex-shell", otherwise=REFUSALS[refusal])))
    assert await connect() == UUID
    assert await connect() == UUID
    assert host.ran() == ["p2pannex-shell", "git-annex-shell", "git-annex-shell"]


async def test_a_program_that_is_named_is_the_only_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install("git-annex-shell")
    host.install("other")
    for shell, variable, expected in ((None, "other", "other"), ("other", "git-annex-shell", "other")):
        monkeypatch.setenv("P2PANNEX_REMOTE_SHELL", variable)
        assert await connect(shell) == UUID
        assert host.ran() == [expected]
    with pytest.raises(ConnectionLost, match=r"command not found \(exit status 127\)"):
        await connect("p2pannex-shell")
    assert host.ran() == ["p2pannex-shell"]


async def test_where_neither_is_installed_the_error_says_what_to_do(host: Host) -> None:
    with pytest.raises(ConnectionLost, match=r"neither p2pannex-shell nor git-annex-shell; install p2pannex there"):
        await connect()


@pytest.mark.parametrize("name", ["p2pannex-shell", "git-annex-shell"])
async def test_the_refusal_of_the_program_that_is_installed_is_reported(host: Host, name: str) -> None:
    host.install(name, "#!/bin/sh\necho there is no /d >&2; exit 1\n")
    with pytest.raises(ConnectionLost, match=f"^{name}: .*there is no /d$"):
        await connect()


async def test_a_host_that_cannot_be_reached_is_tried_once(host: Host) -> None:
    host.use(host.install("login", "#!/bin/sh\necho ssh: no route >&2; exit 255\n"))
    with pytest.raises(Unreachable, match="no route"):
        await connect()
    assert host.ran() == ["p2pannex-shell"]


async def test_a_login_script_that_prints_is_named_as_the_cause(host: Host) -> None:
    serves = host.install("p2pannex-shell")
    host.use(host.install("login", f"#!/bin/sh\necho 'Welcome to example.org!'\nexec {serves}\n"))
    for shell in (None, "p2pannex-shell"):
        with pytest.raises(ConnectionLost, match=r"first line is 'Welcome to example.org!'.*login script.*\.bashrc"):
            await connect(shell)
