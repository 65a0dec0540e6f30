"""A client names a directory that it has filled itself: no program that the directory names is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.cli.shell.shell import CLIENT, KEY, Shell
from tests.cli.test_trust import gateway_running

NODE = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def mark(home: Path) -> Path:
    """A file that exists if a program of the client was run."""
    return home / "mark"


def trust(shell: Shell, directory: Path) -> None:
    path = shell.home / ".config/p2pannex/trusted-directories"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{directory.stat().st_uid} {directory}\n")


def repository(path: Path, *options: str) -> None:
    subprocess.run(["git", "init", "-q", *options, path], check=True)
    for setting, value in (
        ("annex.uuid", CLIENT),
        ("annex.version", "10"),
        ("user.name", "me"),
        ("user.email", "me@localhost"),
        ("receive.denyCurrentBranch", "updateInstead"),
    ):
        subprocess.run(["git", "-C", path, "config", setting, value], check=True)


def push(home: Path, files: dict[str, str]) -> None:
    """Push a commit with these files to the repository "served", whose work tree it updates."""
    repository(home / "served")
    repository(home / "client")
    for name, text in files.items():
        path = home / "client" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    for words in (["add", "--force", "."], ["commit", "-q", "-m", "x"], ["push", "-q", "../served", "HEAD:master"]):
        subprocess.run(["git", "-C", home / "client", *words], check=True)
    subprocess.run(["git", "-C", home / "served", "symbolic-ref", "HEAD", "refs/heads/master"], check=True)
    subprocess.run(["git", "-C", home / "served", "reset", "-q", "--hard"], check=True)
    assert all((home / "served" / name).exists() for name in files)


REQUESTS = f"VERSION 2\nCHECKPRESENT {KEY}\nPUT  {KEY}\nDATA 5\nhelloVALID\nREMOVE {KEY}\n"


# Gateway directories ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["cluster", '"cluster"', '"clu\\u0073ter"'])
@pytest.mark.parametrize("command", ["p2pstdio", "inannex", "dropkey", "configlist"])
def test_a_gateway_needs_the_owners_permission(shell: Shell, home: Path, mark: Path, command: str, key: str) -> None:
    (home / "evil").mkdir()
    (home / "evil/p2pannex.toml").write_text(gateway_running(f"touch {mark}").replace("cluster =", f"{key} ="))
    words = {"p2pstdio": [CLIENT], "inannex": [KEY], "dropkey": ["--force", KEY], "configlist": []}[command]
    said = shell.refuses(command, "@/evil", *words)
    assert said == (
        "@/evil is the gateway of a cluster, and the owner of this account has not allowed it; "
        "allow it with: p2pannex trust @/evil"
    )
    assert not mark.exists()


def test_the_owner_has_allowed_it(shell: Shell, home: Path, mark: Path) -> None:
    (home / "gateway").mkdir()
    (home / "gateway/p2pannex.toml").write_text(gateway_running(f"touch {mark}"))
    done = shell.run("p2pstdio", "@/gateway", CLIENT, stdin=REQUESTS, GIT_ANNEX_SHELL_DIRECTORY="@/gateway")
    assert done.stdout.startswith(f"AUTH-SUCCESS {NODE}\nVERSION 2\n")
    assert mark.exists()
    trust(shell, home / "gateway")
    assert shell.run("configlist", "@/gateway").stdout.startswith(f"annex.uuid={NODE}\n")


def test_a_store_whose_configuration_has_the_same_word(shell: Shell, home: Path) -> None:
    with (home / "store/p2pannex.toml").open("a") as file:
        file.write("# not a cluster \\ \n")
    assert shell.run("configlist", "@/store").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_belongs_to_another_user(shell: Shell, home: Path, mark: Path) -> None:
    (home / "evil").mkdir()
    (home / "evil/p2pannex.toml").write_text(gateway_running(f"touch {mark}"))
    DirectoryStore.create(home / "theirs")
    for path in ("evil", "theirs"):
        os.chown(home / path / "p2pannex.toml", 65534, 65534)
        for environment in ({}, {"GIT_ANNEX_SHELL_DIRECTORY": f"@/{path}"}):
            said = shell.refuses("p2pstdio", f"@/{path}", CLIENT, **environment)
            assert said.startswith(f"@/{path}/p2pannex.toml belongs to user 65534, not to user 0, who runs this; ")
            assert said.endswith(f"allow it with: p2pannex trust @/{path}")
    assert not mark.exists()
    os.chown(home / "theirs", 65534, 65534)
    trust(shell, home / "theirs")
    assert shell.run("configlist", "@/theirs").returncode == 0


# What a push has put into a work tree ------------------------------------------------------------------------------


def test_a_pushed_gateway(shell: Shell, home: Path, mark: Path) -> None:
    text = gateway_running(f"touch {mark}")
    push(home, {"p2pannex.toml": text, "sub/p2pannex.toml": text})
    for environment in ({}, {"GIT_ANNEX_SHELL_DIRECTORY": "@/served"}):
        done = shell.run("p2pstdio", "@/served", CLIENT, stdin=REQUESTS, **environment)
        assert done.stdout.startswith(f"AUTH-SUCCESS {CLIENT}\n"), "it is served as the git-annex repository"
    said = shell.refuses("p2pstdio", "@/served/sub", CLIENT)
    assert said == (
        "@/served/sub is part of the work tree of @/served, where a push may have put it; "
        "allow it with: p2pannex trust @/served/sub"
    )
    assert not mark.exists()


CONFIG = """\
[core]
    repositoryformatversion = 0
    bare = true
    fsmonitor = touch MARK
    sshCommand = touch MARK
    hooksPath = hooks
[annex]
    uuid = 41111111-1111-4111-8111-111111111111
    version = 10
    freezecontent-command = touch MARK
    thawcontent-command = touch MARK
    secure-erase-command = touch MARK
[remote "x"]
    url = ssh://x/x
    annex-uuid = 51111111-1111-4111-8111-111111111111
    annexurl = exec:touch MARK
    annex-ssh-options = -oProxyCommand=touch\\\\ MARK
"""


@pytest.mark.parametrize("name", ["sub", "sub.git"])
def test_a_pushed_bare_repository(shell: Shell, home: Path, mark: Path, name: str) -> None:
    """git writes it from a commit, with its hooks. Its owner is the account, so git trusts its configuration."""
    hook = f"#!/bin/sh\ntouch {mark}\n"
    files = {
        "HEAD": "ref: refs/heads/main\n",
        "config": CONFIG.replace("MARK", str(mark)),
        "objects/info/x": "",
        "refs/heads/x.lock": "",
        **{f"hooks/{each}": hook for each in ("pre-receive", "reference-transaction", "freezecontent-annex")},
    }
    push(home, {f"{name}/{file}": text for file, text in files.items()})
    for words in (
        ["p2pstdio", "@/served/sub", CLIENT],
        ["configlist", f"@/served/{name}", "--", "autoinit=1", "--"],
        ["notifychanges", f"@/served/{name}"],
        ["inannex", f"@/served/{name}", KEY],
        ["-c", "git-receive-pack '@/served/sub'"],
        ["-c", "git-upload-pack '@/served/sub'"],
    ):
        assert "is part of the work tree of @/served" in shell.refuses(*words)
    assert not mark.exists()
    trust(shell, home / "served" / name)
    assert shell.run("configlist", f"@/served/{name}").stdout.startswith("annex.uuid=4")


def test_repositories_that_no_push_has_made(shell: Shell, home: Path) -> None:
    """In the work tree of a repository with other files, such as a home directory with its settings in git."""
    push(home, {"file": "x"})
    repository(home / "served/bare.git", "--bare")
    repository(home / "served/inner")
    DirectoryStore.create(home / "served/store")
    for name in ("bare.git", "inner", "store", ".git"):
        assert shell.run("configlist", f"@/served/{name}").returncode == 0


def test_settings_in_files_that_a_push_changes(shell: Shell, home: Path, mark: Path) -> None:
    """Neither a file of the work tree nor the git-annex branch says which programs are run."""
    settings = CONFIG.replace("MARK", str(mark))
    push(home, {".gitconfig": settings, ".gitmodules": settings, ".gitattributes": "* filter=x diff=x merge=x\n"})
    git = ["git", "-C", str(home / "served")]
    names = ("annex.freezecontent-command", "annex.secure-erase-command", "annex.post-update-command")
    log = "".join(f"1700000000s {name} touch {mark}\n" for name in names)
    blob = subprocess.run([*git, "hash-object", "-w", "--stdin"], input=log.encode(), capture_output=True, check=True)
    entry = b"100644 blob " + blob.stdout.strip() + b"\tconfig.log\n"
    tree = subprocess.run([*git, "mktree"], input=entry, capture_output=True, check=True).stdout.strip()
    made = subprocess.run([*git, "commit-tree", "-m", "x", tree], capture_output=True, check=True, input=b"")
    subprocess.run([*git, "update-ref", "refs/heads/git-annex", made.stdout.strip()], check=True)
    done = shell.run("p2pstdio", "@/served", CLIENT, stdin=REQUESTS)
    assert done.stdout.endswith("SUCCESS\nSUCCESS\n"), done
    assert not mark.exists()


def test_a_file_that_the_owner_includes(shell: Shell, home: Path, mark: Path) -> None:
    """The owner's own configuration names a file of the work tree: that is the owner's decision, as for git."""
    push(home, {"settings": f"[annex]\n    freezecontent-command = touch {mark}\n"})
    subprocess.run(["git", "-C", home / "served", "config", "include.path", "../settings"], check=True)
    shell.run("p2pstdio", "@/served", CLIENT, stdin=REQUESTS)
    assert mark.exists()
