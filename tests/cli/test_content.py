"""`p2pannex put`, `get`, `check` and `copy`."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pannex.cli import exit_codes
from p2pannex.cli.content import _hint
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore
from tests.cli.running import ABSENT, CONTENT, KEY, P2PANNEX, run, run_child, served, wait_until


@pytest.mark.parametrize("through", [str, served])
def test_put_get_check_copy_remove(store: str, file: str, tmp_path: Path, through: Callable[[str], str]) -> None:
    url = through(store)
    assert run("put", url, file).stdout == KEY + "\n"
    assert run("put", url, file).stdout == KEY + "\n"
    assert run("check", url, KEY).stdout == f"present {KEY}\n"
    assert run("get", url, KEY, "-o", str(tmp_path / "out")).stdout == ""
    assert (tmp_path / "out").read_bytes() == CONTENT
    other = str(tmp_path / "other")
    run("init", other)
    assert run("copy", url, through(other), KEY).stdout == KEY + "\n"
    assert run("remove", url, KEY, "--while-locked-on", through(other)).stdout == f"removed {KEY}\n"
    assert run("check", url, KEY, code=exit_codes.NO).stdout == f"absent {KEY}\n"
    assert run("check", through(other), KEY, "--quiet").stdout == ""
    assert run("remove", through(other), KEY).stdout == f"removed {KEY}\n"


def test_json_of_every_transfer(store: str, file: str, tmp_path: Path) -> None:
    def lines(*args: str, code: int = 0) -> list[dict[str, object]]:
        return [json.loads(each) for each in run(*args, "--json", code=code).stdout.splitlines()]

    (put,) = lines("put", store, file)
    assert (put["key"], put["status"], put["bytes"], put["file"]) == (KEY, "stored", len(CONTENT), file)
    assert lines("put", store, file)[0]["status"] == "present before"
    (get,) = lines("get", store, KEY, "-o", str(tmp_path / "out"))
    assert (get["key"], get["bytes"], get["verified"]) == (KEY, len(CONTENT), True)
    present, absent = lines("check", store, KEY, ABSENT, code=exit_codes.NO)
    assert (present["present"], absent["present"]) == (True, False)
    other = str(tmp_path / "other")
    (made,) = lines("init", other)
    assert made["uuid"] == DirectoryStore(other).uuid
    assert lines("copy", store, other, KEY)[0]["status"] == "stored"
    assert lines("remove", store, KEY)[0]["removed"] is True
    (error,) = lines("get", store, KEY, "-o", str(tmp_path / "out2"), code=exit_codes.NO)
    assert error["exit_code"] == exit_codes.NO
    assert "does not have" in str(error["error"])


def test_several_files_and_a_backend(store: str, file: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b")
    out = run("put", store, file, str(tmp_path / "b"), "--backend", "MD5").stdout
    assert out.splitlines() == [
        f"MD5-s{len(CONTENT)}--{hashlib.md5(CONTENT).hexdigest()}",
        f"MD5-s1--{hashlib.md5(b'b').hexdigest()}",
    ]


def test_one_file_that_fails_does_not_keep_the_others_back(store: str, file: str, tmp_path: Path) -> None:
    result = run("put", store, str(tmp_path / "nothing"), file, code=exit_codes.LOCAL_FILE)
    assert result.stdout == KEY + "\n"


def test_put_with_a_key(store: str, file: str) -> None:
    worm = f"WORM-s{len(CONTENT)}-m1--name"
    assert run("put", store, file, "--key", worm).stdout == worm + "\n"
    short = "SHA256-s5--" + "0" * 64
    run("put", store, file, "--key", short, code=exit_codes.WRONG_CONTENT)
    wrong = f"SHA256-s{len(CONTENT)}--" + "0" * 64
    assert "not its content" in run("put", store, file, "--key", wrong, code=exit_codes.WRONG_CONTENT).stderr
    assert "--key takes exactly one FILE" in run("put", store, file, file, "--key", worm, code=exit_codes.USAGE).stderr


def test_keys_that_are_not_utf_8(store: str, file: str) -> None:
    key = f"WORM-s{len(CONTENT)}-m1--".encode() + b"\xff"
    assert run_child("put", store, file, "--key", os.fsdecode(key)).stdout == key + b"\n"
    assert run_child("check", store, os.fsdecode(key)).stdout == b"present " + key + b"\n"
    told = json.loads(run_child("check", store, os.fsdecode(key), "--json").stdout)
    assert told["key"].encode("utf-8", "surrogateescape") == key


def test_get_does_not_replace_a_file_unless_told(full: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    assert "--force" in run("get", full, KEY, "-o", str(tmp_path / "out"), code=exit_codes.LOCAL_FILE).stderr
    assert (tmp_path / "out").read_bytes() == b"precious"
    run("get", full, KEY, "-o", str(tmp_path / "out"), "--force")
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_get_of_spoiled_content(full: str, tmp_path: Path) -> None:
    (found,) = (path for path in Path(full).rglob(f"*{KEY}") if path.is_file())
    for url in (full, served(full)):
        os.chmod(found, 0o644)
        found.write_bytes(CONTENT[::-1])
        os.chmod(found, 0o444)
        result = run("get", url, KEY, "-o", str(tmp_path / "out"), code=exit_codes.WRONG_CONTENT)
        assert "not the content" in result.stderr
        assert not list(tmp_path.glob("out*"))
    run("get", url, KEY, "-o", str(tmp_path / "out"), code=exit_codes.NO)  # the store knows by now
    assert not found.exists()


def test_an_interrupted_get_goes_on_where_it_stopped(store: str, tmp_path: Path) -> None:
    content = os.urandom(4_000_000)
    (tmp_path / "in").write_bytes(content)
    key = run("put", store, str(tmp_path / "in")).stdout.strip()
    stalling = tmp_path / "stalling.py"
    stalling.write_text(
        "import os, time\n"
        "os.write(1, b'AUTH-SUCCESS u\\nVERSION 4\\nDATA 4000000\\n')\n"
        f"content = open({str(tmp_path / 'in')!r}, 'rb').read(3000000)\n"
        "while content: content = content[os.write(1, content):]\n"
        "time.sleep(60)\n"
    )
    url = "exec:" + shlex.join([sys.executable, str(stalling)])
    child = subprocess.Popen([*P2PANNEX, "get", url, key, "-o", str(tmp_path / "out")], stderr=subprocess.PIPE)

    def received() -> int:
        return sum(partial.stat().st_size for partial in tmp_path.glob("out.*.p2pannex-partial"))

    wait_until(lambda: received() >= 1 << 20)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (exit_codes.INTERRUPTED, b"p2pannex: interrupted\n")
    left = received()
    assert 1 << 20 <= left <= 3_000_000
    assert not (tmp_path / "out").exists()
    told = json.loads(run("get", served(store), key, "-o", str(tmp_path / "out"), "--json").stdout)
    assert (told["resumed_at"], told["bytes"]) == (left, 4_000_000 - left)
    assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize(("absent", "code"), [([0], 1), ([1], 1), ([], 0)])
def test_one_key_that_is_absent_is_enough_for_the_exit_code(full: str, absent: list[int], code: int) -> None:
    run("check", full, *[ABSENT if number in absent else KEY for number in range(3)], code=code)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("file.txt", b"file.txt"),
        ("a/b..c", b"a/b..c"),
        ("/home/me/file.txt", None),
        ("../me/file.txt", None),
        ("a/../../b", None),
    ],
)
def test_the_name_that_a_server_learns_tells_no_directories_of_this_machine(path: str, hint: bytes | None) -> None:
    assert _hint(path) == hint


def test_damaged_content_is_reported(full: str) -> None:
    path = os.fsdecode(DirectoryStore(full).layout.find(Key.parse(KEY)))
    os.chmod(path, 0o644)
    with open(path, "r+b") as writable:
        writable.write(b"damage")
    result = run_child("check", full, KEY, code=exit_codes.NO)
    assert result.stdout == f"absent {KEY}\n".encode()
    [bad] = (Path(full) / "annex" / "bad").iterdir()
    assert result.stderr == f"p2pannex: the content of {KEY} does not match it; moved to {bad}\n".encode()
    assert run_child("check", full, KEY, code=exit_codes.NO).stderr == b""  # once


def test_a_backend_whose_hash_cannot_be_computed(store: str, file: str) -> None:
    assert (
        "SKEIN256 is not one of SHA" in run("put", store, file, "--backend", "SKEIN256", code=exit_codes.USAGE).stderr
    )
