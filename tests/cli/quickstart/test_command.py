"""`p2pannex quickstart` does what it shows, and shows what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from p2pannex.cli import exit_codes
from p2pannex.cli.program import program
from p2pannex.cli.quickstart.command import MADE
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore
from p2pannex.transfer.file_keys import key_for_file


def lines(*args: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(program, ["quickstart", "--json", *args])
    assert result.exit_code == 0, (result.stdout, result.stderr)
    assert result.stderr == ""
    return [json.loads(each) for each in result.stdout.splitlines()]


CLUSTER = [
    *["cluster"] * 3, "cluster-put", *["cluster-get"] * 2, "cluster-put-without", *["cluster-remove"] * 2
]  # fmt: skip


def check_cluster(told: list[dict[str, object]], there: Path) -> None:
    """What is told of the cluster is what is on the disk, and in the process table, afterwards."""
    attic, cellar, shelf, put, killed, got, without, refused, removed = told
    names = ["attic", "cellar", "shelf"]
    assert [each["node"] for each in (attic, cellar, shelf)] == names
    stores = {name: DirectoryStore(there / name) for name in names}
    assert [each["uuid"] for each in (attic, cellar, shelf)] == [store.uuid for store in stores.values()]
    assert len({each["pid"] for each in (attic, cellar, shelf)}) == 3
    for each in (attic, cellar, shelf):
        assert not os.path.exists(f"/proc/{each['pid']}"), "none of them is left"
        assert str(each["url"]).startswith("exec:")
    assert put["nodes"] == names
    assert put["bytes"] == got["bytes"] == 24_000_000
    assert (killed["node"], killed["killed"]) == ("attic", attic["pid"])
    assert isinstance(killed["bytes"], int)
    assert 12_000_000 <= killed["bytes"] < 24_000_000
    assert got["sources"] == ["attic", "cellar"]
    assert (there / "fetched" / "movie.mkv").read_bytes() == (there / "files" / "movie.mkv").read_bytes()
    assert key_for_file(there / "fetched" / "movie.mkv") == Key.parse(str(got["key"]).encode())
    assert without["nodes"] == ["cellar", "shelf"]
    assert (refused["removed"], refused["nodes"]) == (False, ["cellar", "shelf"])
    assert (removed["removed"], removed["nodes"]) == (True, names)
    song = Key.parse(str(without["key"]).encode())
    assert {name: list(store.keys()) for name, store in stores.items()} == {
        "attic": [],
        "cellar": [song],
        "shelf": [song],
    }


def test_on_files_of_the_user(tmp_path: Path) -> None:
    first, second = tmp_path / "a b.txt", tmp_path / "[bold]c"
    first.write_bytes(b"first")
    second.write_bytes(os.urandom(2_000_000))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (first, second)}
    there = tmp_path / "there"
    told = lines("--dir", str(there), str(first), str(second))
    assert [each["step"] for each in told] == [
        *["init"] * 2, *["put"] * 2, *["copy"] * 2, *["get"] * 2, "lock", *["remove"] * 2, *["check"] * 2,
        *CLUSTER, "end",
    ]  # fmt: skip
    laptop, server = DirectoryStore(there / "laptop"), DirectoryStore(there / "server")
    assert [each["uuid"] for each in told[:2]] == [laptop.uuid, server.uuid]
    keys = [key_for_file(first), key_for_file(second)]
    assert [each["key"] for each in told if each["step"] == "put"] == list(map(str, keys))
    assert list(laptop.keys()) == []
    assert sorted(server.keys()) == sorted(keys)
    assert (there / "fetched" / "1-a b.txt").read_bytes() == b"first"
    assert (there / "fetched" / "2-[bold]c").read_bytes() == second.read_bytes()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    check_cluster([each for each in told if str(each["step"]).startswith("cluster")], there)
    # nothing stays locked: the server lets go of all of it
    assert all(trio.run(server.remove, key).ok for key in keys)


def test_twice_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    arguments = ("--dir", str(tmp_path / "there"), str(tmp_path / "a"))
    uuids = [each["uuid"] for each in lines(*arguments)[:2]]
    again = lines(*arguments)
    assert [each["uuid"] for each in again[:2]] == uuids
    assert [each["outcome"] for each in again if each["step"] == "copy"] == ["there already"]
    assert [each["nodes"] for each in again if each["step"] == "cluster-put-without"] == [["cellar", "shelf"]]


def test_the_same_content_under_two_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    told = lines("--dir", str(tmp_path / "there"), str(tmp_path / "a"), str(tmp_path / "b"))
    assert [each["outcome"] for each in told if each["step"] == "put"] == ["stored", "there already"]
    assert [each["step"] for each in told].count("remove") == 1


def test_on_files_of_its_own_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """In a process of its own, as people run it, not on a terminal."""
    result = subprocess.run(
        [sys.executable, "-m", "p2pannex.cli.main", "quickstart"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    for name in MADE:
        assert result.stdout.count(name) == 5 + (name == next(iter(MADE)))  # each step but the first names each file
    assert "the server refused" in result.stdout
    assert "killed (SIGKILL)" in result.stdout
    assert "cellar continued; verified and identical" in result.stdout
    assert "stored: cellar and shelf" in result.stdout
    assert "FAILURE-PLUS, removed from cellar and shelf" in result.stdout
    assert "p2pannex quickstart --dir" in result.stdout
    assert os.listdir(tmp_path) == []


def test_quiet(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    result = CliRunner().invoke(program, ["quickstart", "-q", str(tmp_path / "a")])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["laptop", "shelf"])
def test_a_folder_that_is_in_use_for_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_bytes(b"precious")
    result = CliRunner().invoke(program, ["quickstart", "--dir", str(tmp_path), "--json"])
    assert result.exit_code == exit_codes.FAILED
    assert result.stderr.startswith("p2pannex: ")
    assert "not empty" in result.stderr
    assert os.listdir(tmp_path / name) == ["precious"]


def test_content_that_another_client_has_locked_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    arguments = ["quickstart", "--json", "--dir", str(tmp_path / "there"), str(tmp_path / "a")]
    assert CliRunner().invoke(program, arguments).exit_code == 0
    key = key_for_file(tmp_path / "a")

    async def put_and_lock(store: DirectoryStore, key: Key) -> None:
        from p2pannex.transfer.transfer import send

        await send(store, key, tmp_path / "a")
        lock = await store.lock(key)
        await lock.aclose()  # lost, not released

    laptop = DirectoryStore(tmp_path / "there" / "laptop")
    trio.run(put_and_lock, laptop, key)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == exit_codes.NO
    assert "locked" in result.stderr
    assert trio.run(laptop.check_present, key)
