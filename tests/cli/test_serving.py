"""`p2pannex serve` and `proxy`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from p2pannex.cli import exit_codes
from tests.cli.running import CONTENT, KEY, P2PANNEX, run, run_child, served, wait_until


@contextmanager
def serving(store: str, *options: str, command: str = "serve") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running `p2pannex serve`, or `proxy`, and the URL that it printed."""
    child = subprocess.Popen([*P2PANNEX, command, store, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield child.stdout.readline().decode().strip(), child
    finally:
        child.terminate()
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 0
    assert b"Traceback" not in errors
    assert all(each.startswith(b"p2pannex: ") for each in errors.splitlines())


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_socket_that_others_on_the_network_could_read_is_warned_of(full: str, host: str, warned: bool) -> None:
    argv = [*P2PANNEX, "serve", full, "--listen", f"tcp://{host}:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.terminate()
        errors = child.communicate(timeout=60)[1]
    assert (b"is not encrypted" in errors) == warned


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
        denied = "this repository is append-only; removal denied" if may_put else "this repository is read-only"
        assert denied in run("remove", url, KEY, "--token", token, code=exit_codes.NO).stderr
        put = run("put", url, str(tmp_path / "b"), "--token", token, code=0 if may_put else exit_codes.NO)
        assert may_put or denied in put.stderr


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
        run("remove", url, KEY, "--token", token, code=exit_codes.NO)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert run("check", full, put["key"]).stdout.startswith("present")


def test_proxy_on_stdio(full: str) -> None:
    uuid = json.loads(run("info", full, "--json").stdout)["uuid"]
    words = [*P2PANNEX, "proxy", served(full), "--protocol-version", "1"]
    assert json.loads(run("info", f"exec:{shlex.join(words)}", "--json").stdout)["uuid"] == uuid
    assert run("check", f"exec:{shlex.join([*words, '--uuid', uuid])}", KEY).stdout.startswith("present")
    wrong = shlex.join([*words, "--uuid", "00000000-0000-4000-8000-0000000000bb"])
    assert "expected repository" in run("check", f"exec:{wrong}", KEY, code=exit_codes.UNREACHABLE).stderr


@pytest.mark.parametrize(("option", "may_put"), [("--read-only", False), ("--append-only", True)])
def test_a_proxy_on_stdio_allows_less_than_everything(full: str, tmp_path: Path, option: str, may_put: bool) -> None:
    (tmp_path / "b").write_bytes(b"b")
    url = f"exec:{shlex.join([*P2PANNEX, 'proxy', served(full), option])}"
    denied = "this repository is append-only; removal denied" if may_put else "this repository is read-only"
    assert denied in run("remove", url, KEY, code=exit_codes.NO).stderr
    put = run("put", url, str(tmp_path / "b"), code=0 if may_put else exit_codes.NO)
    assert may_put or denied in put.stderr
    assert run("check", full, KEY).stdout.startswith("present")


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


def test_tls_without_a_certificate(store: str) -> None:
    result = run_child("serve", store, "--listen", "tls://localhost:0", code=exit_codes.USAGE)
    assert b"--tls-cert" in result.stderr
