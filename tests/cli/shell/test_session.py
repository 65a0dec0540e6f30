"""p2pstdio and notifychanges: what is said, and when."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from p2pannex.cli.shell.session import OPEN
from p2pannex.gateways.directory.cluster import GatewayDirectory, NodeConfig, create
from p2pannex.stores.directory import DirectoryStore
from p2pannex.stores.files.objects import ObjectStore
from p2pannex.system.disk_work import Batched, Inline, InThreads
from p2pannex.urls import open_local, open_url
from tests.cli.shell.shell import CLIENT, KEY, PROGRAM, Shell, commit


@pytest.mark.parametrize(
    "words",
    [
        ["p2pstdio", "@/store", CLIENT],
        ["p2pstdio", "@/store", CLIENT, "--uuid", "UUID"],
        ["p2pstdio", "@/store", CLIENT, "--uuid=UUID"],
        ["p2pstdio", "@/store", "--uuid", "UUID", CLIENT],
        ["p2pstdio", "@/store", "--debug", CLIENT, "--uuid", "UUID"],
        ["p2pstdio", "@/store", CLIENT, "--uuid", "UUID", "--", "remoteuuid=zz", "--"],
        ["p2pstdio", "@/store", "not a uuid"],
        ["p2pstdio", "@/store", ""],
        ["-c", f"git-annex-shell 'p2pstdio' '@/store' '{CLIENT}' --uuid UUID"],
        ["-c", f"git-annex-shell 'p2pstdio' '/~/store' '--debug' '{CLIENT}' --uuid UUID"],
    ],
)
def test_p2pstdio(shell: Shell, uuid: str, words: list[str]) -> None:
    done = shell.run(*(word.replace("UUID", uuid) for word in words), stdin=f"VERSION 4\nCHECKPRESENT {KEY}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 4\nFAILURE\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["@/store"], "missing UUID parameter"),
        (["@/store", "--uuid", "UUID"], "missing UUID parameter"),
        (["@/store", CLIENT, "extra"], "too many parameters"),
        (["@/store", CLIENT, "--uuid"], "--uuid needs a UUID"),
        (["@/store", CLIENT, "--uuid", "xyz"], "expected repository UUID xyz but found UUID UUID"),
        (["@/store", CLIENT, "--uuid", ""], "expected repository UUID but found UUID UUID"),
        (["@/store", "--foo", CLIENT], "invalid option --foo"),
        (["@/nosuch", CLIENT], "there is no @/nosuch"),
        ([], "p2pstdio needs a directory"),
    ],
)
def test_p2pstdio_that_cannot_be(shell: Shell, uuid: str, words: list[str], problem: str) -> None:
    said = shell.refuses("p2pstdio", *(uuid if word == "UUID" else word for word in words))
    assert said == problem.replace("found UUID UUID", f"found UUID {uuid}")


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("name", ["store", "bare.git"])
def test_the_client_is_answered_before_anything_is_loaded(shell: Shell, name: str, login: bool) -> None:
    for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
        subprocess.run(["git", "-C", str(shell.home / "bare.git"), "config", setting, value], check=True)
    words = ["p2pstdio", f"@/{name}", CLIENT]
    program = """
import os, sys
before, write = set(sys.modules), os.write
def watched(descriptor, data):
    if data.startswith(b"AUTH-SUCCESS"):
        write(2, " ".join(sorted(set(sys.modules) - before)).encode() + b"\\n")
    return write(descriptor, data)
os.write = watched
from p2pannex.cli.shell.main import main
sys.exit(main())
"""
    command = shell.command(*(["-c", " ".join(["git-annex-shell", *words])] if login else words))
    command[2] = program
    done = subprocess.run(
        command, env=shell.environment, input="VERSION 1\n", capture_output=True, text=True, cwd=shell.home
    )
    assert done.stdout.endswith("VERSION 1\n")
    loaded = set(done.stderr.split()) - {"__future__"}
    assert loaded == {
        "p2pannex",
        "p2pannex.cli",
        "p2pannex.cli.shell",
        "p2pannex.cli.shell.main",
        "p2pannex.cli.shell.command_line",
        "p2pannex.cli.shell.owner",
        "p2pannex.restrictions",
        "p2pannex.stores",
        "p2pannex.stores.directory_config",
        "p2pannex.stores.trusted_directories",
        "p2pannex.system",
        "p2pannex.system.stdio",
        *(
            [
                "p2pannex.child_environment",
                "p2pannex.git_annex",
                "p2pannex.git_annex.config",
                "p2pannex.git_annex.values",
            ]
            if name == "bare.git"
            else []
        ),
    }


def test_nothing_else_gets_between_the_messages(shell: Shell, uuid: str) -> None:
    command = shell.command("p2pstdio", "@/store", CLIENT)
    command[2] = "import atexit; atexit.register(print, 'a stray line'); " + PROGRAM
    done = subprocess.run(command, env=shell.environment, input="VERSION 1\n", capture_output=True, text=True)
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 1\n"
    assert done.stderr == "a stray line\n"


@pytest.mark.parametrize(
    ("environment", "put_answer", "remove_answer"),
    [
        ({}, "PUT-FROM 0\nSUCCESS", "SUCCESS"),
        ({"GIT_ANNEX_SHELL_READONLY": "", "GIT_ANNEX_SHELL_APPENDONLY": ""}, "PUT-FROM 0\nSUCCESS", "SUCCESS"),
        (
            {"GIT_ANNEX_SHELL_APPENDONLY": "1"},
            "PUT-FROM 0\nSUCCESS",
            "ERROR this repository is append-only; removal denied",
        ),
        (
            {"GIT_ANNEX_SHELL_READONLY": "0"},  # set is set
            "ERROR this repository is read-only; write access denied",
            "ERROR this repository is read-only; write access denied",
        ),
        (
            {"GIT_ANNEX_SHELL_READONLY": "1", "GIT_ANNEX_SHELL_APPENDONLY": "1"},
            "ERROR this repository is read-only; write access denied",
            "ERROR this repository is read-only; write access denied",
        ),
    ],
)
def test_access_modes(
    shell: Shell, uuid: str, environment: dict[str, str], put_answer: str, remove_answer: str
) -> None:
    body = "" if put_answer.startswith("ERROR") else "DATA 5\nhelloVALID\n"
    stdin = f"VERSION 1\nPUT  {KEY}\n{body}REMOVE {KEY}\n"
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=stdin, **environment)
    assert done.returncode == 0
    refusals = [answer for answer in (put_answer, remove_answer) if answer.startswith("ERROR ")]
    assert done.stderr == "".join(f"p2pannex-shell: {answer.removeprefix('ERROR ')}\n" for answer in refusals)
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 1\n{put_answer}\n{remove_answer}\n"


def test_the_reason_of_each_refused_request_is_on_standard_error(shell: Shell, uuid: str) -> None:
    """git-annex shows its user nothing of an ERROR, but does show what a server writes there."""
    huge, locked = f"SHA256-s{1 << 60}--{'0' * 64}", "VERSION 4\n"
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=f"{locked}PUT  {huge}\nDATA {1 << 60}\n")
    assert f"p2pannex-shell: not enough disk space: {1 << 60} bytes to" in done.stderr
    stored = f"PUT  {KEY}\nDATA 5\nhelloVALID\n"
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=f"VERSION 4\n{stored}REMOVE-BEFORE 0 {KEY}\n")
    assert done.stdout.endswith("FAILURE\n")
    assert done.stderr == "p2pannex-shell: the deadline of the removal has passed\n"
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin="VERSION 4\nNOTIFYCHANGE\n")
    assert "ERROR" in done.stdout
    assert done.stderr == "", "clients send what is not supported to find that out"


def test_a_client_that_leaves_in_the_middle(shell: Shell) -> None:
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=f"VERSION 1\nPUT  {KEY}\nDATA 5\nhel")
    assert done.returncode == 1
    assert done.stdout.endswith("PUT-FROM 0\n")
    assert done.stderr.startswith("p2pannex-shell: ")
    assert done.stderr.count("\n") == 1
    assert shell.run("p2pstdio", "@/store", CLIENT, stdin=f"PUT  {KEY}\n").stdout.endswith("PUT-FROM 3\n")


def talk(shell: Shell) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        shell.command("p2pstdio", "@/store", CLIENT),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_signals_end_it_quietly(shell: Shell, number: signal.Signals, status: int) -> None:
    with talk(shell) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"VERSION 1\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"AUTH-SUCCESS")
        assert process.stdout.readline() == b"VERSION 1\n"
        process.send_signal(number)
        assert process.wait(60) == status
        assert process.stderr.read() == b""


def test_a_client_that_no_longer_listens(shell: Shell) -> None:
    with talk(shell) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"AUTH-SUCCESS")
        process.stdout.close()
        process.stdin.write(b"VERSION 1\nVERSION 1\n")
        process.stdin.flush()
        assert process.wait(60) == 1
        assert process.stderr.read() == b"p2pannex-shell: the connection broke: [Errno 32] Broken pipe\n"


def test_a_store_that_breaks_after_the_greeting(shell: Shell, home: Path, uuid: str) -> None:
    (home / "store/p2pannex.toml").write_text(f'uuid = "{uuid}"\ndisk_reserve = "much"\n')
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin="VERSION 1\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"p2pannex-shell: cannot use {home}/store/p2pannex.toml: disk_reserve must be a number of bytes, at least 0\n"
    )


def test_a_traceback_is_for_those_who_ask_for_it(shell: Shell, uuid: str) -> None:
    command = shell.command("p2pstdio", "@/store", CLIENT)
    command[2] = "import sys; sys.modules['p2pannex.cli.shell.session'] = None; " + PROGRAM
    done = subprocess.run(command, env=shell.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "P2PANNEX_DEBUG=1" in done.stderr
    environment = shell.environment | {"P2PANNEX_DEBUG": "1"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_notifychanges(shell: Shell, home: Path) -> None:
    repository = home / "bare.git"
    for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
        subprocess.run(["git", "-C", str(repository), "config", setting, value], check=True)
    first = commit(repository, "refs/heads/main", "first")
    with subprocess.Popen(
        shell.command("notifychanges", "@/bare.git"),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "READY\n"
        assert process.stdout.readline() == f"CHANGED {first}\n"
        process.stdin.write("what it says has no meaning\n")
        process.stdin.flush()
        second = commit(repository, "refs/heads/synced/main", "second")
        assert process.stdout.readline() == f"CHANGED {second}\n"
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def annex(path: Path) -> str:
    for words in (
        ["init", "-q", "--bare", str(path)],
        ["-C", str(path), "config", "annex.uuid", "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"],
        ["-C", str(path), "config", "annex.version", "10"],
    ):
        subprocess.run(["git", *words], check=True)
    return str(path)


def directory(path: Path) -> str:
    DirectoryStore.create(path)
    return str(path)


@pytest.mark.parametrize(("kind", "make"), [("annex", annex), ("directory", directory)])
async def test_one_store_does_its_disk_work_inline(kind: str, make: Callable[[Path], str], tmp_path: Path) -> None:
    path = make(tmp_path / "store")
    async with OPEN[kind](path) as store:
        assert isinstance(store, ObjectStore)
        assert isinstance(store.disk_work, Inline)
    async with open_local(path) as store:
        assert isinstance(store, ObjectStore)
        assert isinstance(store.disk_work, InThreads), "other programs have several clients"


async def test_the_nodes_of_a_gateway_directory_share_one_batch(tmp_path: Path) -> None:
    config = create(str(tmp_path / "gateway"), "family")
    stores = {name: DirectoryStore.create(tmp_path / name) for name in "abc"}
    nodes = {name: NodeConfig(store.uuid, str(tmp_path / name)) for name, store in stores.items()}
    attrs.evolve(config, nodes=nodes).save(tmp_path / "gateway")
    async with OPEN["directory"](str(tmp_path / "gateway")) as gateway:
        assert isinstance(gateway, GatewayDirectory)
        ways = [node.service.disk_work for node in gateway.nodes if isinstance(node.service, ObjectStore)]
        batched = [way for way in ways if isinstance(way, Batched)]
        assert len(batched) == 3
        assert len({id(way._batch) for way in batched}) == 1
        assert len({id(way._one_at_a_time) for way in batched}) == 3
    async with await open_url(str(tmp_path / "gateway")) as gateway:
        assert isinstance(gateway, GatewayDirectory)
        for node in gateway.nodes:
            assert isinstance(node.service, ObjectStore)
            assert isinstance(node.service.disk_work, InThreads)
