"""The programs in `examples/`: each is run as a process, against real servers, and misused as a newcomer would."""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from p2pannex import key_for_file
from p2pannex.cli.program import program as command_line
from p2pannex.testing.services import SERVICE_CHECKS, Check, check_service
from p2pannex.testing.transcripts import load_transcripts
from p2pannex.transports.pump import BLOCK

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FILES = sorted(EXAMPLES.rglob("*.py"))
PROGRAMS = [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "sqlite_store"]
CLIENT = "c1c1c1c1-2222-4333-8444-555555555555"
GATEWAY = "eeeeeeee-2222-4333-8444-555555555555"
CONTENT = bytes(range(256)) * 9000


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our programs come first, warnings are errors, and git-annex finds nothing of the user's."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "error",
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "me",
        "GIT_AUTHOR_EMAIL": "me@localhost",
        "GIT_COMMITTER_NAME": "me",
        "GIT_COMMITTER_EMAIL": "me@localhost",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("P2PANNEX_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "content").write_bytes(CONTENT)


def run(*command: str, status: int = 0, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env={**os.environ, **(variables or {})},
        check=False,
    )
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def p2pannex(*words: str, status: int = 0) -> str:
    """Run the command in this process: starting one for each of a hundred commands takes longer than the commands."""
    done = CliRunner().invoke(command_line, words)
    assert done.exit_code == status, f"{words}: {done.exit_code}\n{done.output}"
    return done.stdout.strip()


def example(name: str, *words: str, status: int = 0, variables: dict[str, str] | None = None) -> str:
    """Run an example that succeeds, or that fails with one line; what it printed."""
    done = run(sys.executable, f"examples/{name}", *words, status=status, variables=variables)
    if status:
        # A server on this machine writes the reason of a refusal on standard error, too.
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("p2pannex-shell: ")]
        return line
    assert not done.stderr, done.stderr
    return done.stdout


def served_by(name: str, *words: str) -> str:
    """The URL of an example that serves on its standard input and output."""
    return "exec:" + " ".join([sys.executable, f"examples/{name}", *(f"'{word}'" for word in words)])


def shell(directory: str) -> str:
    """The URL of a directory behind a p2pannex-shell, as it is behind ssh."""
    return f"exec:p2pannex-shell p2pstdio {os.path.abspath(directory)} {CLIENT}"


def git_annex_repository(name: str) -> tuple[str, str]:
    """A new bare git-annex repository: the URL of a real git-annex-shell that serves it, and its UUID."""
    run("git", "init", "-q", "--bare", name)
    run("git", "-C", name, "annex", "init", "-q", name)
    uuid = run("git", "-C", name, "config", "annex.uuid").stdout.strip()
    return f"exec:git-annex-shell p2pstdio {os.path.abspath(name)} {CLIENT}", uuid


# What holds for all of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_fewer_than_sixty_lines_that_open_with_what_they_show(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_says_how_to_run_it_and_is_listed(path: Path) -> None:
    program = path / "__main__.py" if path.is_dir() else path
    docstring = program.read_text().split('"""')[1]
    assert re.search(rf"^    .*python examples/{path.name}\b", docstring, re.MULTILINE)
    assert f"[{path.name}" in (EXAMPLES / "README.md").read_text()


def test_links_of_the_readme() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES / target).is_file(), target


def test_the_project_s_type_checkers_read_them() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "examples" in tools["mypy"]["files"]
    assert tools["mypy"]["strict"] is True
    assert "examples" in tools["pyright"]["include"]
    assert "/examples" in tools["hatch"]["build"]["targets"]["sdist"]["include"]


@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]], ids=str)
def test_types(checker: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(checker[0], reason="it comes with p2pannex[lint]")
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PYTHONWARNINGS")
    run(sys.executable, "-m", *checker, *map(str, FILES))


@pytest.mark.parametrize("name", ["asyncio_client.py", "gateway.py", "proxy.py", "sqlite_store"])
def test_without_arguments_each_says_how_it_is_used(name: str) -> None:
    assert example(name, status=1).startswith("usage: ")


def test_the_readme_s_commands_as_they_are_written(tmp_path: Path) -> None:
    first, second = re.findall(r"^```sh\n(.*?)^```$", (EXAMPLES / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert second.count("7000") == 2
    run("sh", "-euc", first)
    # Should the client fail, the server is ended all the same.
    script = second.removesuffix("kill $!\n").replace("7000", str(port))
    run("sh", "-euc", f"trap 'kill $!' EXIT\n{script}")
    for source in ("proxy", "database", "gateway", "socket"):
        assert (tmp_path / f"from-{source}.md").read_bytes() == (EXAMPLES / "README.md").read_bytes(), source


# asyncio_client.py ------------------------------------------------------------------------------------------------


@contextmanager
def serving(directory: str) -> Iterator[str]:
    """The port of a `p2pannex serve`."""
    command = ["p2pannex", "serve", directory, "--listen", "tcp://127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().rpartition(":")[2]
        finally:
            server.terminate()
    assert server.returncode == 0


def test_asyncio_client(tmp_path: Path) -> None:
    p2pannex("init", "store")
    key = p2pannex("put", "store", "content")
    token = {"P2PANNEX_TOKEN": p2pannex("token", "create", "store")}
    with serving("store") as port:
        example("asyncio_client.py", "127.0.0.1", port, key, "copy", variables=token)
        assert (tmp_path / "copy").read_bytes() == CONTENT
        assert not (tmp_path / "copy.part").exists()
        for token_, host, port_, key_, path, problem in [
            ("wrong", "127.0.0.1", port, key, "no", "the reply to AUTH was AUTH-FAILURE"),
            ("not one", "127.0.0.1", port, key, "no", "AUTH: a word"),
            (None, "127.0.0.1", port, "SHA256-s1--none", "no", "the reply to CHECKPRESENT was FAILURE"),
            (None, "127.0.0.1", port, "not a key", "no", "not a key"),
            (None, "127.0.0.1", "port", key, "no", "invalid literal"),
            (None, "127.0.0.1", port, key, "missing/no", "No such file or directory"),
        ]:
            variables = {"P2PANNEX_TOKEN": token_} if token_ else token
            said = example("asyncio_client.py", host, port_, key_, path, status=1, variables=variables)
            assert problem in said
    assert "Connect call failed" in example(
        "asyncio_client.py", "127.0.0.1", port, key, "no", status=1, variables=token
    )
    assert not (tmp_path / "no").exists()


def test_asyncio_client_and_content_that_is_wrong(tmp_path: Path) -> None:
    """The server's copy was damaged on disk: FILE is not written."""
    p2pannex("init", "store")
    key = p2pannex("put", "store", "content")
    token = {"P2PANNEX_TOKEN": p2pannex("token", "create", "store")}
    (stored,) = (tmp_path / "store/annex/objects").rglob(f"{key}/{key}")
    stored.chmod(0o644)
    stored.write_bytes(CONTENT[:-1] + b"x")
    stored.chmod(0o444)
    with serving("store") as port:
        said = example("asyncio_client.py", "127.0.0.1", port, key, "copy", status=1, variables=token)
    assert "copy.part" in said
    assert not (tmp_path / "copy").exists()


def test_asyncio_client_needs_no_trio() -> None:
    program = "import runpy, sys; runpy.run_path('examples/asyncio_client.py'); sys.exit('trio' in sys.modules)"
    run(sys.executable, "-c", program)


# sqlite_store -----------------------------------------------------------------------------------------------------


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store's modules, imported as they are when the program runs."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "sqlite_store"))
    names = ("database", "download", "lock", "store", "upload")
    yield [importlib.import_module(name) for name in names]
    for name in names:
        sys.modules.pop(name)


@pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
async def test_sqlite_store_is_a_service(check: Check, modules: Any, tmp_path: Path) -> None:
    database, _, _, store, _ = modules
    await check_service(lambda: store.SqliteStore(database.open_database(tmp_path / "db")), checks=[check])


TWO_SERVERS = {"lock-remove", "lock-remove-before", "lock-twice"}
"""The transcripts that want two servers at a time on one repository."""
FRESH = ["opening", "opening-client-closes", "opening-newer-client"]
"""Those that want a new server while the one of an earlier transcript is idle: here each has a run of its own."""


@pytest.mark.parametrize("names", [None, *([name] for name in FRESH)], ids=["others", *FRESH])
def test_sqlite_store_replies_as_the_transcripts_want(names: list[str] | None) -> None:
    if names is None:
        every = [transcript.name for transcript in load_transcripts()]
        names = [name for name in every if name not in TWO_SERVERS and name not in FRESH]
    chosen = [word for name in names for word in ("--transcript", name)]
    command = [sys.executable, "examples/sqlite_store", "db"]
    passed = p2pannex("conformance", "--version", "4", *chosen, "--", *command).splitlines()[-1]
    assert " 0 failed" in passed
    assert not passed.startswith("0 passed")


def test_sqlite_store(tmp_path: Path) -> None:
    url = served_by("sqlite_store", "photos.db")
    key = p2pannex("put", url, "content")
    p2pannex("get", url, key, "-o", "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    p2pannex("remove", url, key)
    p2pannex("check", url, key, status=1)


def test_sqlite_store_keeps_a_lock_although_its_server_was_killed() -> None:
    url = served_by("sqlite_store", "photos.db")
    key = p2pannex("put", url, "content")
    with subprocess.Popen(
        [sys.executable, "examples/sqlite_store", "photos.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(f"LOCKCONTENT {key}\n")
        server.stdin.flush()
        assert server.stdout.readline().startswith("AUTH-SUCCESS ")
        assert server.stdout.readline() == "SUCCESS\n"
        server.kill()
    p2pannex("remove", url, key, status=1)
    p2pannex("check", url, key)


def test_sqlite_store_goes_on_with_an_upload_although_its_server_was_killed(tmp_path: Path) -> None:
    content = CONTENT * 3
    (tmp_path / "big").write_bytes(content)
    key = str(key_for_file("big"))
    with subprocess.Popen(
        [sys.executable, "examples/sqlite_store", "photos.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        server.stdin.write(f"PUT  {key}\nDATA {len(content)}\n".encode() + content[: len(content) // 2])
        server.stdin.flush()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (tmp_path / "photos.db").stat().st_size < BLOCK:
            time.sleep(0.05)
        server.kill()
    result = json.loads(p2pannex("put", "--json", served_by("sqlite_store", "photos.db"), "big"))
    assert (result["key"], result["resumed_at"]) == (key, BLOCK)


@pytest.mark.compat
def test_sqlite_store_with_git_annex(tmp_path: Path) -> None:
    """As a remote behind ssh; an "ssh" that runs the command on this machine stands in for the network."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    served = tmp_path / "served"
    served.write_text(f"#!/bin/sh\nexec {sys.executable} {EXAMPLES}/sqlite_store {tmp_path}/photos.db\n")
    for program in (ssh, served):
        program.chmod(0o755)
    greeting = run(str(served)).stdout.split()
    assert greeting[0] == "AUTH-SUCCESS"
    git = ["git", "-C", "client"]
    run("git", "init", "-q", "client")
    run(*git, "annex", "init", "-q", "client")
    run(*git, "remote", "add", "store", "ssh://localhost/photos")
    run(*git, "config", "remote.store.annex-uuid", greeting[1])
    run(*git, "config", "remote.store.annex-shell", str(served))
    variables = {"GIT_SSH": str(ssh), "GIT_ANNEX_USE_GIT_SSH": "1"}
    (tmp_path / "client/file").write_bytes(CONTENT)
    run(*git, "annex", "add", "-q", "file")
    run(*git, "commit", "-q", "-m", "add")
    run(*git, "annex", "copy", "-q", "--to", "store", "file", variables=variables)
    run(*git, "annex", "drop", "-q", "file", variables=variables)
    assert not (tmp_path / "client/file").exists()
    run(*git, "annex", "get", "-q", "file", variables=variables)
    assert (tmp_path / "client/file").read_bytes() == CONTENT
    run(*git, "annex", "fsck", "-q", "--from", "store", "file", variables=variables)
    run(*git, "annex", "drop", "-q", "--from", "store", "file", variables=variables)
    p2pannex("check", served_by("sqlite_store", "photos.db"), str(key_for_file("content")), status=1)


def test_sqlite_store_and_files_that_are_none() -> None:
    assert "unable to open" in example("sqlite_store", "missing/photos.db", status=1)
    assert "not a database" in example("sqlite_store", "content", status=1)


# proxy.py ---------------------------------------------------------------------------------------------------------


@pytest.mark.compat
def test_proxy_of_git_annex(tmp_path: Path) -> None:
    server, _ = git_annex_repository("server")
    url = served_by("proxy.py", server)
    key = p2pannex("put", url, "content")
    p2pannex("check", server, key)
    p2pannex("get", url, key, "-o", "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    p2pannex("remove", url, key, status=1)
    p2pannex("check", server, key)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("missing", "not a p2pannex store"),
        ("tcp://127.0.0.1:9", "cannot connect"),
        ("exec:false", "exit status 1"),
        ("gopher://host", "gopher"),
    ],
)
def test_proxy_of_what_is_not_there(url: str, problem: str) -> None:
    assert problem in example("proxy.py", url, status=1)


# gateway.py -------------------------------------------------------------------------------------------------------


@pytest.mark.compat
def test_gateway(tmp_path: Path) -> None:
    """Over a directory, a p2pannex-shell that goes away, and a git-annex-shell."""
    one, two = p2pannex("init", "one"), p2pannex("init", "two")
    three, three_uuid = git_annex_repository("three")
    nodes = {one: "one", two: shell("two"), three_uuid: three}
    url = served_by("gateway.py", GATEWAY, *(f'{uuid}="{node}"' for uuid, node in nodes.items()))
    url = url.replace('"', "")
    key = p2pannex("put", url, "content")
    for node in nodes.values():
        p2pannex("check", node, key)
    assert GATEWAY in p2pannex("info", url)
    # Without a node: another has the content, and a removal cannot be done.
    (tmp_path / "two").rename(tmp_path / "away")
    p2pannex("remove", "one", key)
    p2pannex("get", url, key, "-o", "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    p2pannex("remove", url, key, status=1)
    (tmp_path / "away").rename(tmp_path / "two")
    p2pannex("remove", url, key)
    for node in nodes.values():
        p2pannex("check", node, key, status=1)


def test_gateway_and_nodes_that_are_not_what_was_said() -> None:
    one, two, three = (p2pannex("init", name) for name in ("one", "two", "three"))
    for nodes, problem in [
        (["nonsense", f"{two}=two", f"{three}=three"], "usage: "),
        ([f"{one}=one", f"{two}=two"], "usage: "),
        ([f"{one}=one", f"{one}=two", f"{three}=three"], "usage: "),
        ([f"{one}=missing", f"{two}=two", f"{three}=three"], "not a p2pannex store"),
        ([f"{two}=one", f"{one}=two", f"{three}=three"], f"one is repository {one}, not {two}"),
    ]:
        assert problem in example("gateway.py", GATEWAY, *nodes, status=1)


# backup.py --------------------------------------------------------------------------------------------------------


@pytest.mark.compat
def test_backup_to_git_annex(tmp_path: Path) -> None:
    server, _ = git_annex_repository("server")
    (tmp_path / "other").write_bytes(b"other")
    p2pannex("init", "photos")
    keys = p2pannex("put", "photos", "content", "other").splitlines()
    p2pannex("put", server, "other")  # this one is there already
    assert sorted(example("backup.py", "photos", server).splitlines()) == sorted(f"sent {key}" for key in keys)
    for key in keys:
        p2pannex("check", server, key)
        p2pannex("check", "photos", key)
    example("backup.py", "photos", server, "--delete")
    for key in keys:
        p2pannex("check", server, key)
        p2pannex("check", "photos", key, status=1)
    assert example("backup.py", "photos", server, "--delete") == ""


BAD_SERVER = f"""
import sys, trio
from p2pannex import AlreadyHave, MemoryStore, NotStored, Side, StreamPeer, serve
from p2pannex.transports.descriptor import DescriptorStream

class BadServer(MemoryStore):
    async def put(self, key, file=None):
        if sys.argv[1] == "already-have":
            return AlreadyHave()
        upload = await super().put(key)
        upload.finish = self.finish
        return upload

    async def finish(self, valid):
        return NotStored()

trio.run(serve, StreamPeer(DescriptorStream(0, 1, keep_open=True), Side.SERVER), BadServer("{GATEWAY}"))
"""


def test_backup_deletes_nothing_that_the_server_does_not_keep(tmp_path: Path) -> None:
    """Servers that reply ALREADY-HAVE and cannot lock, that reply FAILURE to the content, that take no content."""
    (tmp_path / "bad.py").write_text(BAD_SERVER)
    p2pannex("init", "photos")
    p2pannex("init", "server")
    key = p2pannex("put", "photos", "content")
    for server, problem in [
        (f"exec:{sys.executable} bad.py already-have", "cannot lock the content"),
        (f"exec:{sys.executable} bad.py failure", "did not store"),
        ("exec:env GIT_ANNEX_SHELL_READONLY=1 " + shell("server").removeprefix("exec:"), "read-only"),
    ]:
        assert problem in example("backup.py", "photos", server, "--delete", status=1)
        p2pannex("check", "photos", key)


def test_backup_goes_on_after_a_key_that_fails(tmp_path: Path) -> None:
    p2pannex("init", "photos")
    p2pannex("init", "server")
    (tmp_path / "other").write_bytes(b"other")
    keys = p2pannex("put", "photos", "content", "other").splitlines()
    (spoilt,) = (tmp_path / "photos/annex/objects").rglob(f"{keys[0]}/{keys[0]}")
    spoilt.chmod(0o644)
    spoilt.write_bytes(CONTENT[:-1] + b"x")
    done = run(sys.executable, "examples/backup.py", "photos", shell("server"), "--delete", status=1)
    assert done.stdout == f"sent and deleted {keys[1]}\n"
    assert keys[0] in done.stderr
    assert spoilt.exists()
    p2pannex("check", "server", keys[0], status=1)
    p2pannex("check", "server", keys[1])


def test_backup_does_not_delete_what_is_sent_to_the_same_store() -> None:
    p2pannex("init", "photos")
    key = p2pannex("put", "photos", "content")
    for same in ("photos", shell("photos")):
        assert "must be locked in another repository" in example("backup.py", "photos", same, "--delete", status=1)
        p2pannex("check", "photos", key)


def test_backup_and_what_is_not_there() -> None:
    p2pannex("init", "photos")
    assert "not a p2pannex store" in example("backup.py", "missing", "photos", status=1)
    assert "cannot connect" in example("backup.py", "photos", "unix:missing", status=1)
    assert "required: directory, url" in run(sys.executable, "examples/backup.py", status=2).stderr
