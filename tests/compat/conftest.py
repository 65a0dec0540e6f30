"""The real things: git-annex in a home directory of its own, and OpenSSH's server on a loopback port.

Nothing outside pytest's temporary directories is written, except /run/sshd, which OpenSSH wants to exist where it
runs as root.
"""

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.compat.annex_environment import SHELL, AnnexEnvironment, SshServer, environment, program

ACCOUNT = "annex"
"""The name of the account whose login shell is p2pannex-shell."""

THEIR_ACCOUNT = "git-annex"
"""The name of the account whose login shell is git-annex-shell."""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with p2pannex-shell, as pip makes it of this checkout."""
    directory = tmp_path_factory.mktemp("programs")
    program(directory / "p2pannex-shell", SHELL)
    return directory


@pytest.fixture
def annex_env(tmp_path: Path, programs: Path) -> AnnexEnvironment:
    home = tmp_path / "home"
    home.mkdir()
    return AnnexEnvironment(home, environment(home, programs))


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[SshServer]:
    """OpenSSH's server, with keys and configuration of its own. Its sessions find git-annex and p2pannex-shell."""
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    if server is None:
        pytest.fail("sshd is missing: apt-get install openssh-server", pytrace=False)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    directory = tmp_path_factory.mktemp("sshd")
    home = directory / "home"
    home.mkdir()
    for name in ("host_key", "user_key", "restricted_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    limited = 'GIT_ANNEX_SHELL_LIMITED=1 p2pannex-shell -c \\"$SSH_ORIGINAL_COMMAND\\"'
    options = {"user": "", "restricted": f'restrict,command="{limited}" '}
    (directory / "authorized_keys").write_text(
        "".join(words + (directory / f"{name}_key.pub").read_text() for name, words in options.items())
    )
    variables = " ".join(f'"{name}={value}"' for name, value in environment(home, programs).items())
    (directory / "sshd_config").write_text(
        f"HostKey {directory}/host_key\nAuthorizedKeysFile {directory}/authorized_keys\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin yes\nMaxSessions 100\nMaxStartups 100\nPrintMotd no\nSetEnv {variables}\n"
    )
    theirs = shutil.which("git-annex-shell", path=environment(home, programs)["PATH"])
    assert theirs is not None
    accounts = _accounts(directory, home, {ACCOUNT: programs / "p2pannex-shell", THEIR_ACCOUNT: Path(theirs)})
    with _running(server, directory, accounts) as port:
        host_key = (directory / "host_key.pub").read_text()
        (directory / "known_hosts").write_text(f"[localhost]:{port} {host_key}")
        user = getpass.getuser()
        logins = [(user, "user_key"), (user, "restricted_key"), (ACCOUNT, "user_key"), (THEIR_ACCOUNT, "user_key")]
        yield SshServer(port, *(_client_config(directory, *login) for login in logins))


def _accounts(directory: Path, home: Path, shells: dict[str, Path]) -> dict[str, str]:
    """The environment in which sshd knows more accounts, with these login shells; they are ours otherwise.

    Nothing of the machine's is changed: libnss-wrapper has sshd read other files.
    """
    entries = [pwd.getpwuid(os.getuid())]
    with contextlib.suppress(KeyError):  # the user that a root's sshd runs as before a client has logged in
        entries.append(pwd.getpwnam("sshd"))
    lines = [":".join(str(field) for field in entry) for entry in entries]
    lines += [f"{name}:*:{os.getuid()}:{os.getgid()}::{home}:{shell}" for name, shell in shells.items()]
    (directory / "passwd").write_text("\n".join([*lines, ""]))
    (directory / "group").write_text("".join(f"{name}:x:{os.getgid()}:\n" for name in shells))
    files = {"NSS_WRAPPER_PASSWD": f"{directory}/passwd", "NSS_WRAPPER_GROUP": f"{directory}/group"}
    variables = {"LD_PRELOAD": "libnss_wrapper.so", **files}
    if subprocess.run(["getent", "passwd", ACCOUNT], env={**os.environ, **variables}, capture_output=True).returncode:
        pytest.fail("libnss_wrapper.so is missing: apt-get install libnss-wrapper", pytrace=False)
    return variables


def _client_config(directory: Path, user: str, key: str) -> Path:
    config = directory / f"{user}.{key}.config"
    config.write_text(
        f"Host *\nUser {user}\nIdentityFile {directory}/{key}\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {directory}/known_hosts\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        "BatchMode yes\nAddressFamily inet\n"
    )
    return config


@contextlib.contextmanager
def _running(server: str, directory: Path, variables: Mapping[str, str]) -> Iterator[int]:
    """A running sshd's port. A port that was free may be taken when sshd asks for it: then another is tried."""
    log = directory / "log"
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["-f", f"{directory}/sshd_config", "-o", f"ListenAddress=127.0.0.1:{port}", "-E", str(log)]
        with subprocess.Popen([server, "-D", *options], env={**os.environ, **variables}) as process:
            try:
                if _answers(port, process):
                    yield port
                    return
            finally:
                process.terminate()
    pytest.fail(f"sshd does not run:\n{log.read_text()}", pytrace=False)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
        time.sleep(0.02)
    return False
