"""ssh URLs that name no program, over a real sshd: to accounts with ordinary and other shells, and forced commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from p2pannex.service import Stored
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from p2pannex.transfer.transfer import send
from p2pannex.urls import open_url
from tests.compat.annex_environment import AnnexEnvironment, SshServer, program

pytestmark = pytest.mark.compat


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("P2PANNEX_REMOTE_SHELL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "p2pannex" / "remote-shells.json"


def log_in(config: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use ssh with this configuration. Returns a file with one line for each time that it runs."""
    log = directory / "runs"
    counting = program(directory / "ssh", f'#!/bin/sh\necho >> {log}\nexec ssh -F {shlex.quote(str(config))} "$@"\n')
    monkeypatch.setenv("GIT_SSH", str(counting))
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    return log


@pytest.mark.parametrize("kind", ["an ordinary shell", "p2pannex-shell", "a forced command"])
async def test_a_store_needs_p2pannex_only(
    sshd: SshServer, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    configs = {"an ordinary shell": sshd.config, "p2pannex-shell": sshd.login, "a forced command": sshd.restricted}
    log = log_in(configs[kind], tmp_path, monkeypatch)
    store = DirectoryStore.create(tmp_path / "a store")
    (tmp_path / "f").write_bytes(b"content")
    async with await open_url(sshd.url(tmp_path) + "/a%20store") as service:
        assert service.uuid == store.uuid
        assert await send(service, key_of(b"content"), tmp_path / "f") == Stored()
    assert log.read_text() == "\n"
    assert not cache.exists()


async def test_a_login_shell_of_git_annex_takes_a_second_connection_once(
    annex_env: AnnexEnvironment, sshd: SshServer, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_in(sshd.theirs, tmp_path, monkeypatch)
    repository = annex_env.repository("repository")
    for runs in (2, 3, 4):
        async with await open_url(sshd.url(repository)) as service:
            assert service.uuid == annex_env.uuid(repository)
            assert not await service.check_present(key_of(b"content"))
        assert len(log.read_text()) == runs
    assert cache.exists()


def test_the_user_of_git_annex_sees_why_a_request_was_refused(annex_env: AnnexEnvironment, sshd: SshServer) -> None:
    """git-annex shows nothing of an ERROR, but does show what a server writes on standard error."""
    server = DirectoryStore.create(annex_env.home / "server")
    repository = annex_env.repository("repository")
    variables = {"GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(sshd.config))}", "GIT_ANNEX_USE_GIT_SSH": "1"}

    def run(*words: str, check: bool = True) -> str:
        done = annex_env.run(*words, cwd=repository, check=check, variables=variables)
        return done.stdout + done.stderr

    (repository / "f").write_bytes(b"content")
    run("git", "annex", "add", "f")
    run("git", "remote", "add", "server", sshd.url(annex_env.home / "server"))
    run("git", "config", "remote.server.annex-shell", "GIT_ANNEX_SHELL_READONLY=1 p2pannex-shell")
    said = run("git", "annex", "copy", "--to", "server", "f", check=False)
    assert "p2pannex-shell: this repository is read-only; write access denied" in said
    assert not list(server.keys())
