"""The recipes for restricted accounts and keys, as docs/ has them, tried as an attacker would over a real sshd.

sshd is set up as openly as it can be: what is refused, the recipe alone refuses.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.compat.annex_environment import program
from tests.compat.conftest import ACCOUNT, _accounts, _running

pytestmark = pytest.mark.compat

DOCS = Path(__file__).parent.parent.parent / "docs/how-to"
LAUNCHER = Path(__file__).parent.parent.parent / "scripts/p2pannex-shell"

PROBED = "probed"
"""An account like the other, at which ssh runs PROBE instead of p2pannex-shell."""

PROBE = """\
#!/bin/sh
# Stands for p2pannex-shell: shows what sshd has prepared for it.
echo "probe agent=$SSH_AUTH_SOCK display=$DISPLAY tty=$SSH_TTY command=$SSH_ORIGINAL_COMMAND"
"""

OPEN = """\
HostKey {d}/host_key
AuthorizedKeysFile {d}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
AllowAgentForwarding yes
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
GatewayPorts yes
PermitTunnel yes
PermitTTY yes
PermitUserEnvironment yes
PermitUserRC yes
X11Forwarding yes
X11UseLocalhost yes
AcceptEnv PYTHON* GIT_ANNEX_SHELL_* P2PANNEX_*
Subsystem sftp internal-sftp
"""


@dataclass
class Account:
    """An account at a running sshd. `probed` is where ssh runs PROBE instead of p2pannex-shell, in the same recipe."""

    config: Path
    home: Path
    store: Path
    secret: int
    """The port of a server that sends SECRET, on a network that only sshd's machine can reach."""
    probed: Path

    def ssh(
        self, *words: str, config: Path | None = None, timeout: float = 20, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = ["ssh", "-F", str(config or self.config), *words]
        try:
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **variables},
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(command, -1, str(error.stdout or b""), "it goes on")


def recipe(page: str, start: str) -> str:
    """The block of a page that starts so."""
    blocks = re.findall(r"```text\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (block,) = [each for each in blocks if each.startswith(start)]
    return str(block)


@contextlib.contextmanager
def secret_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.sendall(b"SECRET")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


RECIPES = {
    "one store": ("serve-over-ssh.md", 'restrict,command="GIT_ANNEX', "/bin/sh"),
    "login shell, key": ("serve-over-ssh.md", 'restrict,command="p2pannex-shell"', "p2pannex-shell"),
    "login shell, sshd_config": ("serve-over-ssh.md", "Match User", "p2pannex-shell"),
    "proxy": ("serve-a-proxy.md", "restrict,command=", "/bin/sh"),
    "none": ("", "", "/bin/sh"),
}


@pytest.fixture(scope="module", params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def account(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    page, start, shell = RECIPES[name]
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    if server is None:
        pytest.fail("sshd is missing: apt-get install openssh-server", pytrace=False)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    d = tmp_path_factory.mktemp("recipe")
    for each in ("home/.ssh", "bin", "probe"):
        (d / each).mkdir(parents=True)
    (d / "home/.ssh/rc").write_text(f"touch {d}/rc-was-run\n")
    DirectoryStore.create(d / "store")
    program(d / "bin/p2pannex-shell", LAUNCHER.read_text())
    program(d / "bin/p2pannex", f"#!{sys.executable}\n")
    program(d / "probe/p2pannex-shell", PROBE)
    for key in ("host_key", "key", "probed_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / key], check=True)
    text = recipe(page, start) if start else ""
    options = text.partition(" ssh-ed25519")[0] if text.startswith("restrict") else ""
    options = options.replace("/srv/annex ", f"{d}/store ").replace("/opt/p2pannex/bin/python", sys.executable)
    options = options.replace("ssh://inside/srv/annex?uuid=UUID", f"{d}/store")
    probed = options if shell == "p2pannex-shell" else options.replace("p2pannex-shell", f"{d}/probe/p2pannex-shell")
    probed = probed.replace(sys.executable, f"{d}/probe/p2pannex-shell")
    lines = [
        f"{words} {(d / f'{key}.pub').read_text()}".strip() for key, words in (("key", options), ("probed_key", probed))
    ]
    (d / "authorized_keys").write_text("\n".join([*lines, ""]))
    path = f"{d}/bin:{os.environ.get('PATH', os.defpath)}"
    config = OPEN.format(d=d) + f'SetEnv "PATH={path}" "HOME={d}/home"\n'
    if text.startswith("Match"):
        config += text.replace("User annex", f"User {ACCOUNT},{PROBED}")
    (d / "sshd_config").write_text(config)
    login = str(d / "bin/p2pannex-shell") if shell == "p2pannex-shell" else shell
    probe = str(d / "probe/p2pannex-shell") if shell == "p2pannex-shell" else shell
    accounts = _accounts(d, d / "home", {ACCOUNT: Path(login), PROBED: Path(probe)})
    with _running(server, d, accounts) as port, secret_server() as secret:
        (d / "known_hosts").write_text(f"[localhost]:{port} {(d / 'host_key.pub').read_text()}")
        for key, user in (("key", ACCOUNT), ("probed_key", PROBED)):
            (d / f"{key}.config").write_text(
                f"Host server\nHostName localhost\nPort {port}\nUser {user}\n"
                f"IdentityFile {d}/{key}\nIdentitiesOnly yes\n"
                f"UserKnownHostsFile {d}/known_hosts\nGlobalKnownHostsFile none\nBatchMode yes\nAddressFamily inet\n"
            )
        yield Account(
            d / "key.config",
            d / "home",
            d / "store",
            secret,
            d / "probed_key.config",
        )


@pytest.fixture
def open_by_default(name: str) -> bool:
    """Whether there is no recipe: then the attack must succeed, or the test would prove nothing."""
    return name == "none"


def test_what_it_is_for(account: Account, name: str) -> None:
    uuid = DirectoryStore(account.store).uuid
    line = f"p2pannex-shell 'p2pstdio' '{account.store}' 'client' --uuid {uuid}"
    assert account.ssh("server", line).stdout == f"AUTH-SUCCESS {uuid}\n"


def test_forwarding_to_other_hosts(account: Account, open_by_default: bool) -> None:
    done = account.ssh("-W", f"127.0.0.1:{account.secret}", "server")
    assert ("SECRET" in done.stdout) == open_by_default


def test_forwarding_with_N(account: Account, open_by_default: bool, tmp_path: Path) -> None:
    """Nothing is run: the connection exists for its forwarding alone. Local ports, sockets, a proxy, remote ports."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "ssh",
        "-F",
        str(account.config),
        "-N",
        "-T",
        "-L",
        f"127.0.0.1:{port}:127.0.0.1:{account.secret}",
        "server",
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert (receive(port) == b"SECRET") == open_by_default
        finally:
            process.terminate()
    for option in ("0:127.0.0.1:1", f"{tmp_path}/socket:127.0.0.1:1"):
        done = account.ssh("-N", "-T", "-o", "ExitOnForwardFailure=yes", "-R", option, "server", timeout=5)
        assert (done.returncode == -1) == open_by_default, done.stderr
    assert (tmp_path / "socket").exists() == open_by_default


def receive(port: int) -> bytes:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return connection.recv(100)
        except ConnectionRefusedError:
            time.sleep(0.05)  # ssh has not logged in yet
        except OSError:
            return b""
    return b""


def test_sftp_and_other_subsystems(account: Account, open_by_default: bool, tmp_path: Path) -> None:
    (tmp_path / "batch").write_text(f"get {account.store}/p2pannex.toml {tmp_path}/stolen\n")
    subprocess.run(
        ["sftp", "-q", "-F", account.config, "-b", tmp_path / "batch", "server"], capture_output=True, timeout=20
    )
    assert (tmp_path / "stolen").exists() == open_by_default
    done = account.ssh("-s", "server", "nosuch")
    assert "uid=" not in done.stdout


@pytest.mark.parametrize(
    "line",
    ["id", "", "p2pannex-shell 'configlist' '@'; id", "$(id)", "`id`", "p2pannex-shell configlist '@' && id", "id\nid"],
)
@pytest.mark.parametrize("terminal", ["-T", "-tt"])
def test_other_commands(account: Account, open_by_default: bool, terminal: str, line: str) -> None:
    words = [line.replace("@", str(account.store))] if line else []
    done = account.ssh(terminal, "server", *words, timeout=10)
    if line and "$" not in line and "`" not in line:
        assert ("uid=" in done.stdout) == open_by_default
    elif not open_by_default:
        assert "uid=" not in done.stdout + done.stderr


def test_agent_x11_and_terminal(account: Account, open_by_default: bool, tmp_path: Path) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "agent").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        probe = [shlex.quote(str(account.home.parent / "probe/p2pannex-shell"))]
        done = account.ssh(
            "-A", "-Y", "-T", "server", *probe, config=account.probed, SSH_AUTH_SOCK=f"{tmp_path}/agent", DISPLAY=":99"
        )
    finally:
        agent.terminate()
        agent.wait()
    shown = dict(re.findall(r"(agent|display)=(\S*)", done.stdout))
    assert set(shown) == {"agent", "display"}, done
    assert bool(shown["agent"]) == open_by_default
    assert open_by_default or not shown["display"]
    with_terminal = account.ssh("-tt", "server", *probe, config=account.probed).stdout
    assert bool(re.search(r"tty=/", with_terminal)) == open_by_default
    assert (account.home.parent / "rc-was-run").exists() == open_by_default


def test_environment(account: Account, name: str, tmp_path: Path) -> None:
    """Even if sshd accepts variables from clients, they run no code and lift no restriction."""
    mark = tmp_path / "mark"
    for module in ("sitecustomize", "usercustomize", "p2pannex", "trio"):
        (tmp_path / f"{module}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    uuid = DirectoryStore(account.store).uuid
    line = f"p2pannex-shell 'p2pstdio' '{account.store}' 'client' --uuid {uuid}"
    variables = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONINSPECT": "1",
        "PYTHONUSERBASE": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "trio.py"),
        "GIT_ANNEX_SHELL_DIRECTORY": "",
        "GIT_ANNEX_SHELL_LIMITED": "",
    }
    setting = " ".join(f'"{key}={value}"' for key, value in variables.items())
    done = account.ssh("-o", f"SetEnv={setting}", "server", line)
    assert done.stdout == f"AUTH-SUCCESS {uuid}\n", done.stderr
    assert not mark.exists()
    if name == "one store":
        done = account.ssh("-o", f"SetEnv={setting}", "server", f"p2pannex-shell configlist {tmp_path}")
        assert f"only allowed to access {account.store}" in done.stderr
        done = account.ssh("-o", f"SetEnv={setting}", "server", f"git-upload-pack '{account.store}'")
        assert "action blocked by GIT_ANNEX_SHELL_LIMITED" in done.stderr
