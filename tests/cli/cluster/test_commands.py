"""`p2pannex cluster`, and the commands that take a gateway directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from p2pannex.cli import exit_codes
from p2pannex.cli.program import program
from p2pannex.cluster.node import COST, NODE_TIMEOUT, TRANSFERS
from p2pannex.gateways.directory.config import GatewayConfig
from tests.cli.cluster.running import P2PANNEX, run
from tests.support.special_remotes import PLAIN as SPECIAL


def test_add_with_all_that_can_be_said(gateway: Path, tmp_path: Path) -> None:
    words = ["--cost", "5", "--timeout", "7", "--transfers", "2", "--wanted", "standard", "--group", "archive"]
    run("cluster", "add", gateway, "attic", tmp_path / "a", *words, "--group", "old", "--max-size", "2 GB")
    node = GatewayConfig.load(gateway).nodes["attic"]
    assert (node.cost, node.timeout, node.transfers) == (5, 7, 2)
    assert (node.wanted, node.groups, node.max_bytes) == ("standard", ("archive", "old"), 2 * 10**9)
    run("cluster", "add", gateway, "plain", tmp_path / "b")
    node = GatewayConfig.load(gateway).nodes["plain"]
    assert (node.cost, node.timeout, node.transfers, node.wanted, node.groups) == (100, 30, 8, "", ())


def test_help_tells_the_defaults_that_there_are() -> None:
    words = " ".join(run("cluster", "add", "--help").stdout.split())
    for option, default in (("cost", COST), ("timeout", NODE_TIMEOUT), ("transfers", TRANSFERS)):
        assert re.search(rf"--{option} [^-]*\[default: {default:g}\]", words)
    assert "[default" not in run("cluster", "set", "--help").stdout  # settings that are not given stay as they are


def test_fewer_nodes_than_copies(tmp_path: Path) -> None:
    gateway = tmp_path / "g"
    warning = "requires 2 copies: every upload fails until it has 2 nodes"
    assert f"has 0 nodes but {warning}" in run("cluster", "init", gateway, "--name", "n", "--copies", "2").stderr
    for name in "ab":
        run("init", tmp_path / name)
    assert f"has 1 node but {warning}" in run("cluster", "add", gateway, "a", tmp_path / "a").stderr
    assert f"has 1 node but {warning}" in run("cluster", "status", gateway).stderr
    assert run("cluster", "add", gateway, "b", tmp_path / "b").stderr == ""
    assert run("cluster", "status", gateway).stderr == ""
    assert "has 2 nodes but requires 3" in run("cluster", "set", gateway, "--copies", "3").stderr


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["attic", "{tmp}/a", "--wanted", "sizebalanced=g"], exit_codes.FAILED, "node attic: sizebalanced=g"),
        (["attic", "{tmp}/a", "--wanted", "url=x"], exit_codes.FAILED, "node attic: url=x cannot be evaluated"),
        (["attic", "{tmp}/a", "--wanted", "anything\nor"], exit_codes.FAILED, "a term is missing"),
        (["attic", "{tmp}/a", "--wanted", "include=\x01"], exit_codes.FAILED, "no usable wanted"),
        (["attic", "{tmp}/a", "--max-size", "much"], exit_codes.FAILED, "node attic: max_size is not a size"),
        (["attic", "tcp://localhost:1", "--max-size", "1GB"], exit_codes.FAILED, "for directories of this machine"),
        (["attic", "--external", "x", "--max-size", "1GB"], exit_codes.FAILED, "for directories of this machine"),
        (["attic"], exit_codes.USAGE, "a node is a URL, or a special remote"),
        (["attic", "{tmp}/a", "--external", "x"], exit_codes.USAGE, "a node is a URL, or a special remote"),
        (["attic", "{tmp}/a", "--set", "a=b"], exit_codes.USAGE, "are for special remotes"),
        (["attic", "--external", "x", "--set", "=b"], exit_codes.USAGE, "not like NAME=VALUE"),
        (["attic", "--external", "'"], exit_codes.USAGE, "no closing quotation"),
        (["attic", "--external", "no-such-program"], exit_codes.FAILED, "there is no program no-such-program"),
        (["attic", "--external", "x", "--uuid", "a b"], exit_codes.FAILED, "cannot be a uuid"),
        (["attic", "{tmp}/gateway"], exit_codes.FAILED, "it is a gateway directory of this machine"),
        (["attic", "{tmp}/nowhere"], exit_codes.FAILED, "not a p2pannex store"),
    ],
)
def test_what_cannot_be_added(gateway: Path, tmp_path: Path, words: list[str], code: int, problem: str) -> None:
    before = (gateway / "p2pannex.toml").read_bytes()
    result = run("cluster", "add", gateway, *(word.format(tmp=tmp_path) for word in words), code=code)
    assert problem in result.stderr
    assert (gateway / "p2pannex.toml").read_bytes() == before
    assert not (gateway / "special").exists() or not os.listdir(gateway / "special")


def test_a_uuid_that_cannot_be_one(tmp_path: Path) -> None:
    result = run("cluster", "init", tmp_path / "x", "--name", "n", "--uuid", "a b", code=exit_codes.FAILED)
    assert "'a b' cannot be a uuid" in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_special_remote(gateway: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -I -S {SPECIAL} 2"
    words = ["--external", command, "--set", f"directory={tmp_path}/cloud", "--uuid", "uuid-of-cloud"]
    assert run("cluster", "add", gateway, "cloud", *words).stdout == "uuid-of-cloud\n"
    node = GatewayConfig.load(gateway).nodes["cloud"]
    assert node.cost == 150, "what the program says that it costs"
    assert node.settings == {"directory": f"{tmp_path}/cloud"}
    assert (gateway / "special" / "uuid-of-cloud" / "creds.json").exists(), "it was set up"
    (tmp_path / "file").write_bytes(b"content")
    run("put", gateway, tmp_path / "file")
    assert [path.read_bytes() for path in (tmp_path / "cloud").iterdir()] == [b"content"]
    (row,) = map(json.loads, run("cluster", "status", gateway, "--json").stdout.splitlines())
    assert row["keys"] is None
    assert "problem" not in row
    again = run("cluster", "add", gateway, "again", *words, code=exit_codes.FAILED)
    assert "is the same repository as node cloud" in again.stderr


def test_set(gateway: Path, tmp_path: Path) -> None:
    run("cluster", "add", gateway, "attic", tmp_path / "a", "--group", "g", "--cost", "3")
    run("cluster", "set", gateway, "attic", "--wanted", "groupwanted", "--timeout", "9", "--transfers", "1")
    node = GatewayConfig.load(gateway).nodes["attic"]
    assert (node.wanted, node.groups, node.cost, node.timeout, node.transfers) == ("groupwanted", ("g",), 3, 9, 1)
    run("cluster", "set", gateway, "--groupwanted", "g=smallerthan=1kb", "--numcopies", "2")
    config = GatewayConfig.load(gateway)
    assert (config.groupwanted, config.numcopies) == ({"g": "smallerthan=1kb"}, 2)
    run("cluster", "set", gateway, "attic", "--wanted", "", "--no-groups")
    assert GatewayConfig.load(gateway).nodes["attic"] == type(node)(node.uuid, node.url, 3, 9, 1)
    for words, code, problem in (
        (["attic", "--wanted", "metadata=a=b"], exit_codes.FAILED, "node attic: metadata=a=b"),
        (["cellar", "--cost", "1"], exit_codes.FAILED, "there is no node cellar; there are: attic"),
        (["--cost", "1"], exit_codes.USAGE, "the node is missing"),
        (["attic", "--group", "g", "--no-groups"], exit_codes.USAGE, "exclude each other"),
        (["attic", "--copies", "2"], exit_codes.USAGE, "leave out the name of the node"),
        ([], exit_codes.USAGE, "no setting is given"),
        (["attic"], exit_codes.USAGE, "no setting is given"),
    ):
        assert problem in run("cluster", "set", gateway, *words, code=code).stderr


def test_a_groups_expression_that_makes_a_nodes_senseless_is_refused(gateway: Path, tmp_path: Path) -> None:
    run("cluster", "add", gateway, "attic", tmp_path / "a", "--group", "g", "--wanted", "groupwanted")
    result = run("cluster", "set", gateway, "--groupwanted", "g=url=x", code=exit_codes.FAILED)
    assert "node attic: groupwanted of g: url=x" in result.stderr
    assert GatewayConfig.load(gateway).groupwanted == {}


def test_changes_at_the_same_time_lose_nothing(gateway: Path, tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(6)]
    for name in names:
        run("init", tmp_path / name, "-q")

    def child(*words: object) -> int:
        return subprocess.run([*P2PANNEX, "cluster", *map(str, words)], check=False).returncode

    with ThreadPoolExecutor(6) as pool:
        adding = [pool.submit(child, "add", gateway, name, tmp_path / name, "-q") for name in names]
        assert [each.result() for each in adding] == [0] * 6
        assert set(GatewayConfig.load(gateway).nodes) == set(names)
        changing = [pool.submit(child, "set", gateway, name, "--cost", "7") for name in names[:3]]
        changing += [pool.submit(child, "remove", gateway, name) for name in names[3:]]
        assert [each.result() for each in changing] == [0] * 6
    assert {name: node.cost for name, node in GatewayConfig.load(gateway).nodes.items()} == dict.fromkeys(names[:3], 7)


def test_serve_and_tokens(gateway: Path, tmp_path: Path) -> None:
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    token = run("token", "create", gateway, "--name", "laptop").stdout.strip()
    assert "laptop" in run("token", "list", gateway).stdout
    (tmp_path / "file").write_bytes(b"content")
    socket = f"unix:{tmp_path}/socket"
    with subprocess.Popen(
        [*P2PANNEX, "serve", str(gateway), "--listen", socket], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            assert child.stdout is not None
            assert socket in child.stdout.readline().decode()
            key = run("put", socket, tmp_path / "file", "--token", token).stdout.strip()
            run("check", socket, key, "--token", token)
            for name in "ab":
                run("check", tmp_path / name, key)
            result = CliRunner().invoke(program, ["check", socket, key, "--token", "wrong"])
            assert result.exit_code == exit_codes.UNREACHABLE
            while "served by 1 process\n" not in re.sub(" +\n", "\n", run("cluster", "status", gateway).stdout):
                time.sleep(0.1)  # its first word comes within a second
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0
    assert run("token", "revoke", gateway, "laptop").stdout.startswith("revoked")


# What does not work ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory: a file in it, named by a request, makes the special remote `CLOUD` fail at this request."""
    trouble = tmp_path / "trouble"
    trouble.mkdir()
    monkeypatch.setenv("TROUBLE", str(trouble))
    return trouble


def add_cloud(gateway: Path, tmp_path: Path, *more: str, code: int = 0) -> Result:
    command = f"{sys.executable} -I -S {SPECIAL} 2"
    return run(
        "cluster",
        "add",
        gateway,
        "cloud",
        "--external",
        command,
        "--set",
        f"directory={tmp_path}/cloud",
        *more,
        code=code,
    )


@pytest.mark.parametrize(
    ("verb", "how", "reason"),
    [
        ("CHECKPRESENT", "unknowable-only", "the cloud is away"),
        ("TRANSFER", "fail-only", "the cloud is away"),
        ("PREPARE", "error-only", "it is all too much"),
        ("CHECKPRESENT", "exit", "something broke"),
    ],
)
def test_a_special_remote_that_does_not_work_is_not_added(
    gateway: Path, tmp_path: Path, cloud: Path, verb: str, how: str, reason: str
) -> None:
    (cloud / verb).write_text(f"{how} always")
    before = (gateway / "p2pannex.toml").read_bytes()
    result = add_cloud(gateway, tmp_path, code=exit_codes.FAILED)
    assert result.stderr.startswith("p2pannex: node cloud was not added: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert (gateway / "p2pannex.toml").read_bytes() == before
    assert not os.listdir(gateway / "special")

    forced = add_cloud(gateway, tmp_path, "--force", "--json")
    assert forced.stderr.startswith("p2pannex: node cloud was added, but it does not work now: ")
    assert reason in forced.stderr
    row = json.loads(forced.stdout)
    assert reason in row["remarks"][0]
    assert GatewayConfig.load(gateway).nodes["cloud"].uuid == row["uuid"]
    if verb != "TRANSFER":  # the status stores nothing in special remotes
        status = run("cluster", "status", gateway, "--json", code=exit_codes.NO)
        assert reason in json.loads(status.stdout)["problem"]
        assert status.stderr.startswith("p2pannex: node cloud: ")
        assert reason in status.stderr

    (cloud / verb).unlink()
    (tmp_path / "file").write_bytes(b"content")
    run("put", gateway, tmp_path / "file")
    run("cluster", "status", gateway)


def test_a_repository_that_cannot_be_reached_is_added_only_by_force_and_with_its_uuid(gateway: Path) -> None:
    words = ("cluster", "add", gateway, "away", "exec:false")
    assert "node away was not added: " in run(*words, code=exit_codes.UNREACHABLE).stderr
    assert "give its UUID (--uuid)" in run(*words, "--force", code=exit_codes.FAILED).stderr
    assert GatewayConfig.load(gateway).nodes == {}
    forced = run(*words, "--force", "--uuid", "uuid-of-away")
    assert forced.stderr.startswith("p2pannex: node away was added, but it does not work now: ")
    assert GatewayConfig.load(gateway).nodes["away"].uuid == "uuid-of-away"


def test_force_does_not_add_another_repository(gateway: Path, tmp_path: Path) -> None:
    result = run("cluster", "add", gateway, "a", tmp_path / "a", "--force", "--uuid", "another", code=exit_codes.FAILED)
    assert "not another" in result.stderr
    assert GatewayConfig.load(gateway).nodes == {}


def test_a_node_that_is_read_only_is_added_with_a_remark(
    gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ANNEX_SHELL_READONLY", "1")
    url = f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {tmp_path}/a client"
    result = run("cluster", "add", gateway, "mirror", url)
    remark = "it is read-only: nothing will be stored there or removed"
    assert result.stderr == f"p2pannex: node mirror was added, but {remark}\n"
    status = run("cluster", "status", gateway, "--json")
    assert json.loads(status.stdout)["remark"] == remark


def test_put_and_copy_name_the_nodes_that_did_not_store(gateway: Path, tmp_path: Path, cloud: Path) -> None:
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    add_cloud(gateway, tmp_path)
    (cloud / "TRANSFER").write_text("fail-only always")
    (tmp_path / "b").rename(tmp_path / "away")
    (tmp_path / "file").write_bytes(b"content")
    run("init", tmp_path / "source", "-q")
    key = run("put", tmp_path / "source", tmp_path / "file").stdout.strip()

    for words in (["put", gateway, tmp_path / "file"], ["copy", tmp_path / "source", gateway, key]):
        result = run(*words, "--json")
        row = json.loads(result.stdout)
        assert set(row["not_stored"]) == {"b", "cloud"}
        assert "not a p2pannex store" in row["not_stored"]["b"]
        assert "the cloud is away" in row["not_stored"]["cloud"]
        for node, reason in row["not_stored"].items():
            assert f"p2pannex: {key} was not stored on node {node}: {reason}\n" in result.stderr
        run("remove", tmp_path / "a", key)
    (tmp_path / "away").rename(tmp_path / "b")
    (cloud / "TRANSFER").unlink()
    result = run("put", gateway, tmp_path / "file", "--json")
    assert json.loads(result.stdout)["not_stored"] == {}
    assert result.stderr == ""


def test_a_least_number_of_copies(gateway: Path, tmp_path: Path) -> None:
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    run("cluster", "set", gateway, "--copies", "2")
    assert GatewayConfig.load(gateway).copies == 2
    assert "at least 2 copies" in run("cluster", "status", gateway).stdout
    assert json.loads(run("info", gateway, "--json").stdout)["copies"] == 2
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "b").rename(tmp_path / "away")
    result = run("put", gateway, tmp_path / "file", "--json", code=exit_codes.FAILED)
    row = json.loads(result.stdout)
    assert row["status"] == "not stored"
    assert set(row["not_stored"]) == {"b"}
    assert "1 node has the content, but the cluster requires 2 copies; b: " in result.stderr
    run("check", tmp_path / "a", row["key"])
    again = run("put", gateway, tmp_path / "file", code=exit_codes.FAILED)
    assert "1 node has the content, but the cluster requires 2 copies; b: " in again.stderr
    (tmp_path / "away").rename(tmp_path / "b")
    run("check", gateway, row["key"], code=exit_codes.NO)
    run("put", gateway, tmp_path / "file")
    run("check", gateway, row["key"])
    run("check", tmp_path / "b", row["key"])


def test_the_number_of_copies_of_a_new_cluster(tmp_path: Path) -> None:
    run("cluster", "init", tmp_path / "g", "--name", "n", "--copies", "3")
    assert GatewayConfig.load(tmp_path / "g").copies == 3
    run("cluster", "set", tmp_path / "g", "--numcopies", "2")
    assert GatewayConfig.load(tmp_path / "g").copies == 3
    run("cluster", "set", tmp_path / "g", "--copies", "0", code=exit_codes.USAGE)


def shell(directory: Path) -> str:
    return f"exec:{sys.executable} -m p2pannex.cli.shell.main p2pstdio {directory} client"


def p2pannex(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it as a child, whose standard error is no terminal."""
    done = subprocess.run([*P2PANNEX, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done
    return done


@pytest.mark.parametrize("behind_a_gateway", [False, True])
def test_remove_tells_the_reason_that_a_node_gave(gateway: Path, tmp_path: Path, behind_a_gateway: bool) -> None:
    """The protocol's FAILURE has none: the node's program writes it on standard error."""
    run("cluster", "add", gateway, "a", shell(tmp_path / "a"))
    run("cluster", "add", gateway, "b", tmp_path / "b")
    (tmp_path / "file").write_bytes(b"content")
    url = shell(gateway) if behind_a_gateway else str(gateway)
    key = p2pannex("put", url, tmp_path / "file").stdout.strip()
    holding = [*P2PANNEX, "lock", str(tmp_path / "a"), key, "--", "cat"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lock:
        assert lock.stdin is not None
        assert lock.stdout is not None
        lock.stdin.write(b"x\n")
        lock.stdin.flush()
        lock.stdout.readline()
        refused = p2pannex("remove", url, key, code=exit_codes.NO)
        lock.stdin.close()
    assert refused.stderr == f"p2pannex: {key} was not removed: a: the content is locked\n"
    (tmp_path / "a").rename(tmp_path / "away")
    gone = p2pannex("remove", url, key, code=exit_codes.NO)
    assert gone.stderr.startswith(f"p2pannex: {key} was not removed: a: ")
    assert "p2pannex-shell: there is no " in gone.stderr
    assert gone.stderr.count("\n") == 1


def test_a_gateway_on_stdio_tells_which_nodes_did_not_store(gateway: Path, tmp_path: Path, cloud: Path) -> None:
    for name in "ab":
        run("cluster", "add", gateway, name, tmp_path / name)
    add_cloud(gateway, tmp_path)
    (cloud / "TRANSFER").write_text("fail-only always")
    (tmp_path / "b").rename(tmp_path / "away")
    for number in range(3):
        (tmp_path / f"file{number}").write_bytes(b"content %d" % number)
    done = p2pannex("put", shell(gateway), *(tmp_path / f"file{number}" for number in range(3)))
    lines = done.stderr.splitlines()
    assert len(lines) == 2, "each failure once, whatever the number of files"
    (opening,) = (line for line in lines if line.startswith("p2pannex: node b cannot be opened: "))
    assert "is its disk mounted?" in opening
    (storing,) = (line for line in lines if line.startswith("p2pannex: node cloud reports an error: "))
    assert "the cloud is away" in storing
