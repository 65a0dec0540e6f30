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
from click.testing import CliRunner

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
