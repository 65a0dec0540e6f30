"""Every command of `p2pannex`: what it prints, how it exits, and that an error is one line that says what to do."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import describe, line, one_of
from p2pannex.cli.program import COMMANDS, program
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.benchmarks.cluster import run_cluster

CONTENT = b"some content\n" * 30_000
KEY = f"SHA256E-s{len(CONTENT)}--{hashlib.sha256(CONTENT).hexdigest()}.txt"
ABSENT = "SHA256E-s1--" + "0" * 64
P2PANNEX = [sys.executable, "-m", "p2pannex.cli.main"]


def run(*args: str, code: int = 0) -> Result:
    """Run a command line in this process; what it wrote to standard error is one line, or none where it succeeds."""
    result = CliRunner().invoke(program, list(args))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.stderr
    if code in (exit_codes.DONE, exit_codes.NO):
        assert all(each.startswith("p2pannex: ") for each in result.stderr.splitlines())
    else:
        assert re.fullmatch(r"p2pannex: [^\n]+\n", result.stderr), result.stderr
    return result


def run_child(*args: str, code: int = 0, **settings: object) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run([*P2PANNEX, *args], capture_output=True, timeout=60, **settings)  # type: ignore[call-overload]
    assert result.returncode == code, (result.stdout, result.stderr)
    return result  # type: ignore[no-any-return]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = tmp_path / "store"
    DirectoryStore.create(path)
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "file.txt"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture
def full(store: str, file: str) -> str:
    """A store that has KEY."""
    run("put", store, file)
    return store


def served(store: str) -> str:
    """The same store, through a child process."""
    uuid = DirectoryStore(store).uuid
    return "exec:" + shlex.join(
        [sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", store, "me", "--uuid", uuid]
    )


# init, info ------------------------------------------------------------------------------------------------------


def test_init_and_info(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "store")
    uuid = run("init", path).stdout.strip()
    assert DirectoryStore(path).uuid == uuid
    assert uuid in run("info", path).stdout
    facts = json.loads(run("info", path, "--json").stdout)
    assert facts["uuid"] == uuid
    assert facts["keys"] == 0
    assert facts["removal_deadlines"] == "yes"
    assert json.loads(run("info", served(path), "--json").stdout)["uuid"] == uuid
    assert "already" in run("init", path, code=exit_codes.FAILED).stderr


def test_init_with_a_uuid(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "s"), "--uuid", "u-1").stdout == "u-1\n"


# put, get, check, copy -------------------------------------------------------------------------------------------


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
    assert "not its content" in run("put", store, file, "--key", wrong, code=exit_codes.NO).stderr
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
    os.chmod(found, 0o644)
    found.write_bytes(CONTENT[::-1])
    for url in (full, served(full)):
        result = run("get", url, KEY, "-o", str(tmp_path / "out"), code=exit_codes.WRONG_CONTENT)
        assert "not the content" in result.stderr
        assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("version", "01234")
def test_protocol_versions(full: str, tmp_path: Path, version: str) -> None:
    options = ["--protocol-version", version, "--timeout", "20"]
    run("get", served(full), KEY, "-o", str(tmp_path / "out"), *options)
    assert (tmp_path / "out").read_bytes() == CONTENT
    other = str(tmp_path / "other")
    run("init", other)
    run("put", served(other), str(tmp_path / "out"), "--key", KEY, *options)
    run("remove", served(full), KEY, "--while-locked-on", served(other), *options)
    facts = json.loads(run("info", served(full), "--json", *options).stdout)
    assert facts["removal_deadlines"] == ("yes" if version in "34" else "no")


# remove, lock ----------------------------------------------------------------------------------------------------


def test_remove_refuses_to_rely_on_the_same_repository(full: str, tmp_path: Path) -> None:
    for holder in (full, served(full)):
        run("remove", full, KEY, "--while-locked-on", holder, code=exit_codes.NO)
    other = str(tmp_path / "other")
    run("init", other)
    refused = run("remove", full, KEY, "--while-locked-on", other, "--json", code=exit_codes.NO)
    assert "nothing was removed" in json.loads(refused.stdout)["error"]
    run("check", full, KEY)


@pytest.mark.parametrize("through", [str, served])
def test_lock_holds_while_the_command_runs(full: str, through: Callable[[str], str]) -> None:
    remove = shlex.join([*P2PANNEX, "remove", full, KEY])
    script = f"read line; echo got $line; {remove}; echo remove exits $?; exit 7"
    result = run_child("lock", through(full), KEY, "--", "sh", "-c", script, code=7, input=b"a line\n")
    assert result.stdout.splitlines() == [b"got a line", b"remove exits 1"]
    assert b"locked" in result.stderr
    run("remove", full, KEY)


def test_lock_of_what_is_not_there(store: str, tmp_path: Path) -> None:
    result = run_child("lock", store, ABSENT, "touch", str(tmp_path / "ran"), code=exit_codes.NO)
    assert b"COMMAND was not run" in result.stderr
    assert not (tmp_path / "ran").exists()


def test_lock_and_commands_that_do_not_run(full: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    run("lock", full, KEY, "--", "no-such-command", code=exit_codes.NOT_FOUND)
    run("lock", full, KEY, "--", str(tmp_path / "plain"), code=exit_codes.NOT_EXECUTABLE)
    run_child("lock", full, KEY, "sh", "-c", "kill -TERM $$", code=128 + signal.SIGTERM)
    told = run_child("lock", "--json", full, KEY, "true").stdout
    assert json.loads(told) == {"key": KEY, "locked": True, "command_exit_code": 0}
    run("remove", full, KEY)  # each of them unlocked


@pytest.mark.parametrize("through", [str, served])
def test_a_lock_whose_program_was_killed_still_holds(full: str, tmp_path: Path, through: Callable[[str], str]) -> None:
    began = tmp_path / "began"
    script = f"echo $$ > {began}.new; mv {began}.new {began}; exec sleep 60"
    child = subprocess.Popen([*P2PANNEX, "lock", through(full), KEY, "sh", "-c", script])
    wait_until(began.exists)
    child.kill()
    child.wait()
    assert "locked" in run("remove", full, KEY, code=exit_codes.NO).stderr
    os.kill(int(began.read_text()), signal.SIGKILL)


def test_an_interrupt_is_left_to_the_command_under_lock(full: str, tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"trap 'exit 9' INT; touch {began}; while :; do sleep 0.05; done"
    child = subprocess.Popen(
        [*P2PANNEX, "lock", full, KEY, "sh", "-c", script], start_new_session=True, stderr=subprocess.PIPE
    )
    wait_until(began.exists)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 9
    assert errors == b""
    run("remove", full, KEY)


# serve, token ----------------------------------------------------------------------------------------------------


@contextmanager
def serving(store: str, *options: str, command: str = "serve") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running `p2pannex serve`, or `proxy`, and the URL that it printed."""
    child = subprocess.Popen([*P2PANNEX, command, store, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield child.stdout.readline().decode().strip(), child
    finally:
        child.terminate()
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 0
    assert b"Traceback" not in errors
    assert all(each.startswith(b"p2pannex: ") for each in errors.splitlines())


@pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])
def test_serve(full: str, tmp_path: Path, kind: str) -> None:
    token = run("token", "create", full, "--name", "mine").stdout.strip()
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for blob in (certificate.private_key_pem, *certificate.cert_chain_pems):
        blob.write_to_path(str(tmp_path / "server.pem"), append=True)
    listen = {"unix": f"unix:{tmp_path}/sock", "tcp": "tcp://127.0.0.1:0", "tls": "tls://localhost:0"}[kind]
    options = ["--listen", listen, *(["--tls-cert", str(tmp_path / "server.pem")] if kind == "tls" else [])]
    with serving(full, *options) as (url, _):
        if kind == "tls":
            port = url.rpartition(":")[2]
            url = f"tls://localhost:{port}?ca={tmp_path}/ca.pem"
        assert run("check", url, KEY, "--token", token).stdout == f"present {KEY}\n"
        run("get", url, KEY, "--token", token, "-o", str(tmp_path / "out"))
        assert "token" in run("check", url, KEY, code=exit_codes.UNREACHABLE).stderr
        assert "token" in run("check", url, KEY, "--token", "wrong", code=exit_codes.UNREACHABLE).stderr
        assert run_child("check", url, KEY, env={**os.environ, "P2PANNEX_TOKEN": token}).returncode == 0
    assert (tmp_path / "out").read_bytes() == CONTENT


@pytest.mark.parametrize(("option", "may_put"), [("--read-only", False), ("--append-only", True)])
def test_serve_less_than_everything(full: str, tmp_path: Path, option: str, may_put: bool) -> None:
    token = run("token", "create", full).stdout.strip()
    (tmp_path / "b").write_bytes(b"b")
    with serving(full, "--listen", f"unix:{tmp_path}/sock", option) as (url, _):
        run("remove", url, KEY, "--token", token, code=exit_codes.FAILED)
        run("put", url, str(tmp_path / "b"), "--token", token, code=0 if may_put else exit_codes.FAILED)


def test_proxy_on_a_socket(full: str, tmp_path: Path) -> None:
    """The tokens are those of a store of its own; the content is that of the repository behind it."""
    door = str(tmp_path / "door")
    run("init", door)
    token = run("token", "create", door).stdout.strip()
    (tmp_path / "b").write_bytes(b"b")
    options = ["--listen", f"unix:{tmp_path}/sock", "--tokens", door, "--append-only"]
    with serving(served(full), *options, command="proxy") as (url, _):
        assert "token" in run("check", url, KEY, code=exit_codes.UNREACHABLE).stderr
        assert run("get", url, KEY, "--token", token, "-o", str(tmp_path / "out")).stderr == ""
        put = json.loads(run("put", url, str(tmp_path / "b"), "--token", token, "--json").stdout)
        run("remove", url, KEY, "--token", token, code=exit_codes.FAILED)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert run("check", full, put["key"]).stdout.startswith("present")


def test_proxy_on_stdio(full: str) -> None:
    uuid = json.loads(run("info", full, "--json").stdout)["uuid"]
    words = [*P2PANNEX, "proxy", served(full), "--protocol-version", "1"]
    assert json.loads(run("info", f"exec:{shlex.join(words)}", "--json").stdout)["uuid"] == uuid
    assert run("check", f"exec:{shlex.join([*words, '--uuid', uuid])}", KEY).stdout.startswith("present")
    wrong = shlex.join([*words, "--uuid", "00000000-0000-4000-8000-0000000000bb"])
    assert "expected repository" in run("check", f"exec:{wrong}", KEY, code=exit_codes.UNREACHABLE).stderr


def test_a_second_signal_leaves_nothing_behind(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A P2P network whose program is slow to end, of a server that is told to stop twice."""
    program = tmp_path / "git-annex-p2p-slow"
    program.write_text(
        f"#!/bin/sh\nexec 2>/dev/null\ntrap 'touch {tmp_path}/told; sleep 0.3; exit' TERM\ntouch {tmp_path}/runs\n"
        "while :; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with serving(full, "--listen", "p2p-annex::slow:somewhere") as (_, child):
        wait_until((tmp_path / "runs").exists)
        child.terminate()
        wait_until((tmp_path / "told").exists)  # and `serving` terminates it once more
    assert list((tmp_path / "tmp").iterdir()) == []


def test_serve_without_tokens_says_so(full: str, tmp_path: Path) -> None:
    with serving(full, "--json", "--listen", f"unix:{tmp_path}/sock") as (printed, child):
        assert json.loads(printed) == {"listening": f"unix:{tmp_path}/sock"}
        assert child.stderr is not None
        assert b"p2pannex token create" in child.stderr.readline()


def test_tokens(store: str) -> None:
    made = json.loads(run("token", "create", store, "--mode", "read-only", "--expires", "90d", "--json").stdout)
    assert re.fullmatch("[a-z0-9]{32}", made["token"])
    assert abs(made["expires"] - time.time() - 90 * 86400) < 3600
    run("token", "create", store, "--name", "other", "--expires", "2999-01-31")
    first, second = run("token", "list", store).stdout.splitlines()
    assert first.startswith(made["id"])
    assert "read-only" in first
    assert second.endswith("other")
    assert made["token"] not in first
    assert run("token", "revoke", store, "other").stdout.startswith("revoked ")
    run("token", "revoke", store, "other", code=exit_codes.NO)
    (left,) = (json.loads(each) for each in run("token", "list", store, "--json").stdout.splitlines())
    assert left["id"] == made["id"]


# errors ----------------------------------------------------------------------------------------------------------

ERRORS = [
    # arguments (STORE and FILE are put in), exit code, a part of the line
    ("check nowhere KEY", exit_codes.FAILED, "p2pannex init"),
    ("check ftp://host/x KEY", exit_codes.USAGE, "ssh://"),
    ("check '' KEY", exit_codes.USAGE, "URL"),
    ("check STORE nokey", exit_codes.USAGE, "not a key"),
    ("check STORE", exit_codes.USAGE, "check --help"),
    ("check exec:no-such-command KEY", exit_codes.UNREACHABLE, "command not found"),
    ("check exec:false KEY", exit_codes.UNREACHABLE, "false"),
    ("check 'exec:echo hello' KEY", exit_codes.UNREACHABLE, "violated the protocol"),
    ("check 'exec:sleep 60' KEY --timeout 0.1", exit_codes.UNREACHABLE, "exec:sleep 60: "),
    ("check unix:/no/such/socket KEY", exit_codes.UNREACHABLE, "/no/such/socket"),
    ("check tcp://127.0.0.1:1 KEY", exit_codes.UNREACHABLE, "127.0.0.1:1"),
    ("check STORE KEY --timeout 0", exit_codes.USAGE, "timeout"),
    ("check STORE KEY --protocol-version 9", exit_codes.USAGE, "protocol-version"),
    ("check STORE KEY --bogus", exit_codes.USAGE, "--bogus"),
    ("get STORE KEY", exit_codes.USAGE, "-o"),
    ("get STORE KEY -o out", exit_codes.NO, "does not have"),
    ("get STORE KEY -o no/such/dir/out", exit_codes.LOCAL_FILE, "no/such/dir/out"),
    ("get STORE KEY -o .", exit_codes.LOCAL_FILE, "directory"),
    ("put STORE nothing", exit_codes.LOCAL_FILE, "nothing: there is no such file"),
    ("put STORE /dev/null --key WORM-s0-m1--x", exit_codes.LOCAL_FILE, "not a regular file"),
    ("put STORE FILE --backend SHA7", exit_codes.USAGE, "SHA256E"),
    ("put STORE FILE --backend URL", exit_codes.USAGE, "SHA256E"),
    ("copy STORE nowhere KEY", exit_codes.FAILED, "p2pannex init"),
    ("lock STORE KEY", exit_codes.USAGE, "COMMAND"),
    ("lock STORE KEY --", exit_codes.USAGE, "COMMAND"),
    ("serve STORE", exit_codes.USAGE, "--listen"),
    ("serve STORE --listen ssh://host/dir", exit_codes.USAGE, "unix:PATH"),
    ("serve STORE --listen unix:sock --read-only --append-only", exit_codes.USAGE, "--read-only"),
    ("proxy STORE --listen unix:sock", exit_codes.USAGE, "--tokens"),
    ("proxy STORE --tokens STORE", exit_codes.USAGE, "--listen"),
    ("proxy nowhere:", exit_codes.USAGE, "nowhere"),
    ("token create STORE --expires yesterday", exit_codes.USAGE, "90d"),
    ("token create STORE --expires 1999-01-31", exit_codes.USAGE, "past"),
    ("token list nowhere", exit_codes.FAILED, "p2pannex init"),
    ("conformance", exit_codes.USAGE, "COMMAND"),
    ("conformance --transcript no-such -- true", exit_codes.USAGE, "transcript"),
    ("completion tcsh", exit_codes.USAGE, "bash"),
    ("quickstart no-such-file", exit_codes.USAGE, "no-such-file"),
    ("bogus", exit_codes.USAGE, "bogus"),
    ("--bogus", exit_codes.USAGE, "--bogus"),
]


@pytest.mark.parametrize(("words", "code", "part"), ERRORS, ids=[words for words, _, _ in ERRORS])
def test_errors(
    words: str, code: int, part: str, store: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"STORE": store, "FILE": file, "KEY": ABSENT}
    assert part in run(*[names.get(word, word) for word in shlex.split(words)], code=code).stderr


def test_tls_without_a_certificate(store: str) -> None:
    result = run_child("serve", store, "--listen", "tls://localhost:0", code=exit_codes.USAGE)
    assert b"--tls-cert" in result.stderr


def test_an_unreachable_server_that_talks_is_quoted_in_one_line() -> None:
    url = "exec:" + shlex.join(["sh", "-c", "echo one >&2; echo two >&2; exit 3"])
    result = run_child("check", url, ABSENT, code=exit_codes.UNREACHABLE)
    assert re.fullmatch(rb"p2pannex: [^\n]*one[^\n]*two[^\n]*\n", result.stderr)


def test_words_of_a_server_cannot_command_the_terminal() -> None:
    reply = "AUTH-SUCCESS u\\nVERSION 4\\nERROR \\033[31mred\\007\\n"
    result = run("check", "exec:" + shlex.join(["sh", "-c", f"printf '{reply}'; cat >/dev/null"]), ABSENT, code=3)
    assert "red" in result.stderr
    assert "\x1b" not in result.stderr


def test_bugs_say_so_and_show_where_when_asked(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("trio.run", broken)
    assert "ZeroDivisionError: oops" in run("check", store, ABSENT, code=exit_codes.INTERNAL).stderr
    monkeypatch.setenv("P2PANNEX_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(program, ["check", store, ABSENT]).stderr


def test_errors_in_groups() -> None:
    inner = ExceptionGroup("g", [ValueError("a"), OSError(28, "No space", "f")])
    assert isinstance(one_of(inner), ValueError)
    interrupted = BaseExceptionGroup("g", [inner, KeyboardInterrupt()])
    assert describe(one_of(interrupted))[0] == exit_codes.INTERRUPTED
    assert line("a\n b\x1b[1m\tc") == "a b�[1m c"


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    began = tmp_path / "began"
    script = f"echo AUTH-SUCCESS u; touch {began}; exec sleep 60"
    child = subprocess.Popen(
        [*P2PANNEX, "check", "exec:" + shlex.join(["sh", "-c", script]), ABSENT], stderr=subprocess.PIPE
    )
    wait_until(began.exists)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == exit_codes.INTERRUPTED
    assert errors == b"p2pannex: interrupted\n"


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
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (exit_codes.INTERRUPTED, b"p2pannex: interrupted\n")
    left = received()
    assert 1 << 20 <= left <= 3_000_000
    assert not (tmp_path / "out").exists()
    told = json.loads(run("get", served(store), key, "-o", str(tmp_path / "out"), "--json").stdout)
    assert (told["resumed_at"], told["bytes"]) == (left, 4_000_000 - left)
    assert (tmp_path / "out").read_bytes() == content


def test_a_reader_that_goes_away(store: str) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run([*P2PANNEX, "check", store, ABSENT, ABSENT], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert result.returncode == exit_codes.OUTPUT_CLOSED
    assert result.stderr == b""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_standard_output(store: str, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*P2PANNEX, "check", store, ABSENT],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert result.returncode == exit_codes.LOCAL_FILE
    assert re.fullmatch(rb"p2pannex: [^\n]+\n", result.stderr)


# around the commands ---------------------------------------------------------------------------------------------


def test_help_of_every_command() -> None:
    top = run("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in top
        assert "Usage: p2pannex" in run(name, "--help").stdout
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code} " in top
        assert meaning in top


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_wait_for_no_library(option: str) -> None:
    check = (
        "import sys; sys.argv[1:] = [sys.argv[1]]\n"
        "from p2pannex.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'trio', 'rich', 'attrs'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", check, option], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "p2pannex" in result.stdout


def test_without_the_packages_of_the_command_line() -> None:
    code = "import sys; sys.modules['click'] = None; from p2pannex.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "pip install click rich" in result.stderr


def test_a_terminal_sees_progress_and_a_pipe_does_not(store: str, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(20_000_000))
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*P2PANNEX, "put", served(store), str(big)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:
        pass  # the terminal's other side was closed
    os.close(ours)
    out, _ = child.communicate()
    assert re.fullmatch(rb"SHA256E-s20000000--[0-9a-f]{64}\n", out)
    assert b"20.0 MB" in shown
    assert run_child("put", store, str(big)).stderr == b""


def complete(words: str) -> list[str]:
    environment = {
        "_P2PANNEX_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(program, [], env=environment, prog_name="p2pannex")
    return [each.partition(",")[2] for each in result.stdout.split()]


def test_completion(full: str) -> None:
    assert complete("p2pannex qu") == ["quickstart"]
    assert "--while-locked-on" in complete("p2pannex remove --wh")
    assert {"SHA3_256", "SHA3_256E"} <= set(complete("p2pannex put --backend SHA3_"))
    assert complete(f"p2pannex check {full} SHA") == [KEY]
    assert complete(f"p2pannex get {full} WORM") == []
    assert "tls://" in complete("p2pannex check tl")
    for shell in ("bash", "zsh", "fish"):
        assert "_P2PANNEX_COMPLETE" in run("completion", shell).stdout


def test_conformance_of_our_own_shell(store: str) -> None:
    command = ["--", sys.executable, "-m", "p2pannex.cli.shell.main", "p2pstdio", store, "me"]
    out = run("conformance", "--version", "4", *command).stdout
    assert re.search(r"^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$", out, re.MULTILINE)
    told = [json.loads(each) for each in run("conformance", "--json", "--version", "0", *command).stdout.splitlines()]
    assert {each["status"] for each in told} <= {"passed", "skipped"}
    run("conformance", "--version", "4", "--", "true", code=exit_codes.NO)


@pytest.mark.compat
def test_bench_prints_every_figure_of_both(tmp_path: Path) -> None:
    out = run("bench", "--rounds", "1", "--size", "1", "--dir", str(tmp_path), "--json").stdout
    figures = {each["name"]: each for each in map(json.loads, out.splitlines())}
    assert {"CHECKPRESENT", "PUT large", "GET 10 kB", "REMOVE", "peak memory"} <= set(figures)
    assert all(each["p2pannex"] > 0 and each["git_annex"] > 0 for each in figures.values())


def test_bench_of_slow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pannex.testing.benchmarks.throttled.RATE", 500e6)
    monkeypatch.setattr("p2pannex.testing.benchmarks.throttled.SECONDS", 0.2)
    figures = [json.loads(each) for each in run("bench", "throttled", "--rounds", "1", "--json").stdout.splitlines()]
    assert len(figures) == 2
    assert all(each["cluster"] > 0 and each["at_best"] > 0 for each in figures)


@pytest.mark.compat
def test_bench_of_a_cluster(tmp_path: Path) -> None:
    result = run_cluster(rounds=1, large=1 << 20, requests=2, directory=str(tmp_path))
    assert {"PUT large", "REMOVE, same gateway", "PUT 10 kB, annex.jobs"} <= {row.name for row in result.rows}
    assert all(row.p2pannex > 0 and row.git_annex > 0 for row in result.rows)
