"""Settings of a repository's owner: both programs do what they say. git-annex-shell is the oracle for each."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import git_annex
import pytest

from p2pannex.git_annex.settings import SETTINGS
from tests.compat.annex_environment import AnnexEnvironment

pytestmark = pytest.mark.compat

CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"


def key(content: bytes) -> str:
    return f"SHA256-s{len(content)}--{hashlib.sha256(content).hexdigest()}"


class Server:
    """One of the two programs, on a repository."""

    def __init__(self, env: AnnexEnvironment, shell: str) -> None:
        self.env = env
        self.shell = shell

    def talk(self, repository: Path, lines: bytes, *options: str) -> str:
        done = subprocess.run(
            [self.shell, "p2pstdio", repository, CLIENT, *options],
            input=b"VERSION 4\n" + lines,
            env=self.env.variables,
            capture_output=True,
            timeout=60,
            cwd=self.env.home,
        )
        return done.stdout.decode().splitlines()[-1]

    def put(self, repository: Path, content: bytes, *options: str) -> str:
        body = b"DATA %d\n%bVALID\n" % (len(content), content)
        return self.talk(repository, b"PUT  %b\n%b" % (key(content).encode(), body), *options)

    def remove(self, repository: Path, content: bytes) -> str:
        return self.talk(repository, b"REMOVE %b\n" % key(content).encode())

    def present(self, repository: Path, content: bytes) -> str:
        return self.talk(repository, b"CHECKPRESENT %b\n" % key(content).encode())


@pytest.fixture(params=["git-annex-shell", "p2pannex-shell"])
def server(request: pytest.FixtureRequest, annex_env: AnnexEnvironment) -> Server:
    return Server(annex_env, request.param)


def configure(env: AnnexEnvironment, repository: Path, **settings: str) -> None:
    for name, value in settings.items():
        env.run("git", "config", "annex." + name.replace("_", "-"), value, cwd=repository)


def hook(repository: Path, name: str, text: str) -> None:
    path = repository / ".git/hooks" / f"{name}-annex"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("as_hook", [False, True])
def test_content_is_erased_before_it_is_removed(server: Server, as_hook: bool) -> None:
    repository = server.env.repository("r")
    log = server.env.home / "log"
    if as_hook:
        hook(repository, "secure-erase", f'cp "$1" {log}; basename "$1" >> {log}; chmod u+w "$1"; : > "$1"')
    else:
        configure(server.env, repository, secure_erase_command=f"cp %file {log}; basename %file >> {log}; : > %file")
    assert server.put(repository, b"secret\n") == "SUCCESS"
    assert not log.exists()
    assert server.remove(repository, b"secret\n") == "SUCCESS"
    assert log.read_text() == f"secret\n{key(b'secret' + bytes([10]))}\n"
    assert server.present(repository, b"secret\n") == "FAILURE"


def test_content_is_removed_also_if_it_cannot_be_erased(server: Server) -> None:
    repository = server.env.repository("r")
    configure(server.env, repository, secure_erase_command="false %file")
    server.put(repository, b"secret")
    assert server.remove(repository, b"secret") == "SUCCESS"
    assert not [file for file in (repository / ".git/annex").rglob("SHA256-s6*") if file.is_file()]


@pytest.mark.parametrize("as_hook", [False, True])
def test_objects_are_frozen_and_thawed(server: Server, as_hook: bool) -> None:
    repository = server.env.repository("r")
    log = server.env.home / "log"
    for name in ("freezecontent", "thawcontent"):
        if as_hook:
            hook(repository, name, f'echo {name} "$1" >> {log}')
        else:
            configure(server.env, repository, **{f"{name}_command": f"echo {name} %path >> {log}"})
    server.put(repository, b"hello")
    lines = log.read_text().splitlines()
    file = next(line.split()[1] for line in lines if line.endswith(f"{key(b'hello')}/{key(b'hello')}"))
    directory = os.path.dirname(file)
    assert lines[0] == f"thawcontent {directory}"
    assert lines[-2:] == [f"freezecontent {file}", f"freezecontent {directory}"]
    log.write_text("")
    assert server.remove(repository, b"hello") == "SUCCESS"
    lines = log.read_text().splitlines()
    assert f"thawcontent {directory}" in lines
    assert f"thawcontent {file}" in lines
    assert f"freezecontent {file}" not in lines
    log.write_text("")
    server.put(repository, b"hello")
    talk = b"LOCKCONTENT %b\nUNLOCKCONTENT\n" % key(b"hello").encode()
    server.talk(repository, talk)
    assert log.read_text().splitlines()[-1] == f"freezecontent {directory}"


@pytest.mark.skipif(os.getuid() != 0, reason="chattr +i is for root")
def test_a_freeze_that_even_root_must_thaw(server: Server) -> None:
    repository = server.env.repository("r")
    if server.env.run("chattr", "+i", repository / ".git/description", check=False).returncode:
        pytest.skip("no chattr on this file system")
    server.env.run("chattr", "-i", repository / ".git/description")
    configure(server.env, repository, freezecontent_command="chattr +i %path", thawcontent_command="chattr -i %path")
    try:
        assert server.put(repository, b"hello") == "SUCCESS"
        lock = b"LOCKCONTENT %b\nUNLOCKCONTENT\n" % key(b"hello").encode()
        assert server.talk(repository, lock) == "SUCCESS"
        assert server.remove(repository, b"hello") == "SUCCESS"
        assert server.present(repository, b"hello") == "FAILURE"
    finally:
        server.env.run("chattr", "-R", "-i", repository, check=False)


def logged(env: AnnexEnvironment, repository: Path) -> str:
    """The branch and the journal, after git-annex has committed it."""
    env.run("git", "annex", "merge", cwd=repository)
    return env.run("git", "grep", ".", "git-annex", "--", cwd=repository, check=False).stdout


def test_a_private_repository_is_not_in_the_branch(server: Server) -> None:
    repository = server.env.home / "r"
    server.env.run("git", "init", "-q", repository)
    configure(server.env, repository, private="true")
    server.env.run("git", "annex", "init", "-q", "x", cwd=repository)
    uuid = server.env.uuid(repository)
    whereis = ("git", "annex", "whereis", "--key", key(b"hello"))
    server.put(repository, b"hello")
    assert uuid not in logged(server.env, repository)
    assert uuid in server.env.run(*whereis, cwd=repository).stdout, "git-annex finds it in the private journal"
    server.remove(repository, b"hello")
    assert uuid not in logged(server.env, repository)
    assert server.env.run(*whereis, cwd=repository, check=False).returncode
    server.put(repository, b"hello")
    assert uuid in server.env.run(*whereis, cwd=repository).stdout


def test_what_was_logged_before_it_was_private_is_overruled(server: Server) -> None:
    repository = server.env.repository("r")
    uuid = server.env.uuid(repository)
    server.put(repository, b"hello")
    before = logged(server.env, repository)
    assert uuid in before
    configure(server.env, repository, private="true")
    server.remove(repository, b"hello")
    assert logged(server.env, repository) == before
    whereis = ("git", "annex", "whereis", "--key", key(b"hello"))
    assert server.env.run(*whereis, cwd=repository, check=False).returncode
    configure(server.env, repository, private="false")
    server.put(repository, b"hello")
    assert uuid in server.env.run(*whereis, cwd=repository).stdout


def cluster(env: AnnexEnvironment) -> tuple[Path, str, list[str]]:
    """A gateway of two nodes: its path, the cluster, the nodes."""
    gateway = env.repository("gateway")
    for name in ("n1", "n2"):
        env.run("git", "clone", "-q", gateway, env.home / name)
        env.run("git", "annex", "init", "-q", name, cwd=env.home / name)
    env.run("git", "annex", "initcluster", "c", cwd=gateway)
    for name in ("n1", "n2"):
        env.run("git", "remote", "add", name, env.home / name, cwd=gateway)
        env.run("git", "config", f"remote.{name}.annex-cluster-node", "c", cwd=gateway)
    env.run("git", "fetch", "-q", "--multiple", "n1", "n2", cwd=gateway)
    env.run("git", "annex", "updatecluster", cwd=gateway)
    uuid = env.run("git", "config", "annex.cluster.c", cwd=gateway).stdout.strip()
    return gateway, uuid, [env.uuid(env.home / name) for name in ("n1", "n2")]


def test_a_private_node_is_not_in_the_branch_and_a_dead_one_gets_nothing(server: Server) -> None:
    gateway, uuid, (one, two) = cluster(server.env)
    server.env.run("git", "config", "remote.n2.annex-private", "true", cwd=gateway)
    assert set(server.put(gateway, b"hello", "--uuid", uuid).split()[1:]) == {one, two}
    path = f"{key(b'hello')}.log"
    text = [line for line in logged(server.env, gateway).splitlines() if path in line]
    assert any(one in line for line in text)
    assert not any(two in line for line in text)
    whereis = server.env.run("git", "annex", "whereis", "--key", key(b"hello"), cwd=gateway).stdout
    assert two in whereis
    server.env.run("git", "config", "remote.n2.annex-trustlevel", "dead", cwd=gateway)
    assert server.put(gateway, b"another", "--uuid", uuid).split()[1:] == [one]
    server.env.run("git", "annex", "dead", "n2", cwd=gateway)
    server.env.run("git", "config", "remote.n2.annex-trustlevel", "semitrusted", cwd=gateway)
    assert set(server.put(gateway, b"a third", "--uuid", uuid).split()[1:]) == {one, two}, "the git config counts"


def test_commits_to_the_branch(server: Server) -> None:
    repository = server.env.repository("r")
    log = server.env.home / "log"
    subject = ("git", "log", "-1", "--format=%s", "git-annex")
    configure(server.env, repository, post_update_command=f"echo updated >> {log}", commitmessage_command="echo theirs")
    server.put(repository, b"one")
    assert server.env.run(*subject, cwd=repository).stdout == "theirs\n"
    assert log.read_text().startswith("updated\n")
    configure(server.env, repository, commitmessage="mine")
    server.put(repository, b"two")
    assert server.env.run(*subject, cwd=repository).stdout == "theirs\n", "the command comes first"
    server.env.run("git", "config", "--unset", "annex.commitmessage-command", cwd=repository)
    server.put(repository, b"two more")
    assert server.env.run(*subject, cwd=repository).stdout == "mine\n"
    configure(server.env, repository, alwayscommit="false")
    head = server.env.run("git", "rev-parse", "git-annex", cwd=repository).stdout
    server.put(repository, b"three")
    assert server.env.run("git", "rev-parse", "git-annex", cwd=repository).stdout == head
    assert [path.name for path in (repository / ".git/annex/journal").iterdir()]


@pytest.mark.parametrize("shared", ["false", "group", "all", "0640"])
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_of_objects(annex_env: AnnexEnvironment, umask: int, shared: str) -> None:
    modes = set()
    before = os.umask(umask)
    try:
        repository = annex_env.repository("r", f"--shared={shared}")
        for shell, content in (("git-annex-shell", b"one"), ("p2pannex-shell", b"two")):
            assert Server(annex_env, shell).put(repository, content) == "SUCCESS"
            [path] = [file for file in (repository / ".git/annex/objects").rglob(key(content)) if file.is_file()]
            modes.add((oct(path.stat().st_mode), oct(path.parent.stat().st_mode)))
    finally:
        os.umask(before)
    assert len(modes) == 1, modes


@pytest.mark.parametrize("other", ["git-annex-shell", "p2pannex-shell"])
def test_the_pid_lock_excludes_the_other_program(server: Server, other: str) -> None:
    repository = server.env.repository("repository-with-a-pid-lock")
    configure(server.env, repository, pidlock="true", pidlocktimeout="1")
    assert server.put(repository, b"hello") == "SUCCESS"
    command = [str(server.shell), "p2pstdio", str(repository), CLIENT]
    with subprocess.Popen(
        command, env=server.env.variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"VERSION 4\nLOCKCONTENT %b\n" % key(b"hello").encode())
        holder.stdin.flush()
        lines = [holder.stdout.readline() for _ in range(3)]
        assert lines[-1] == b"SUCCESS\n"
        content = (repository / ".git/annex/pidlock").read_text()
        assert re.fullmatch(r'PidLock \{lockingPid = \d+, lockingHost = ".+"\}', content)
        assert Server(server.env, other).remove(repository, b"hello") != "SUCCESS"
        holder.stdin.write(b"UNLOCKCONTENT\n")
        holder.stdin.close()
        holder.wait()
    assert not (repository / ".git/annex/pidlock").exists()
    assert Server(server.env, other).remove(repository, b"hello") == "SUCCESS"


def test_this_git_annex_knows_the_settings_of_the_table() -> None:
    binary = (Path(git_annex.__file__).parent / "git-annex").read_bytes()
    for name in SETTINGS:
        last = re.split(r"[. ]|annex-", name)[-1] or name
        if last in ("<name>", "annexInsteadOf", "adviceNoSshCaching", "annexUrl") or name.startswith("annex.tune."):
            last = {"adviceNoSshCaching": "advicenosshcaching", "annexUrl": "annexurl"}.get(last, "annex")
        if "retry-delay" in name:
            last = "retrydelay"
        last = last.removesuffix("-download")  # which git-annex appends to other names
        assert last.encode() in binary, name
