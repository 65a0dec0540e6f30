"""Every request and command, sent to a program like git-annex-shell under one restriction."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from p2pannex.restrictions import AUTOINIT, COMMANDS, OTHER, REQUESTS, VARIABLES

KEY = "SHA256-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CLIENT = "11111111-2222-4333-8444-555555555555"

LINES = {
    "BYPASS": "BYPASS " + CLIENT,
    "CHECKPRESENT": f"CHECKPRESENT {KEY}",
    "CONNECT git-receive-pack": "CONNECT git-receive-pack\nDATA 4\n0000",
    "CONNECT git-upload-pack": "CONNECT git-upload-pack\nDATA 4\n0000",
    "ERROR": "ERROR it",
    "GET": f"GET 0  {KEY}",
    "GETTIMESTAMP": "GETTIMESTAMP",
    "LOCKCONTENT": f"LOCKCONTENT {KEY}",
    "NOTIFYCHANGE": "NOTIFYCHANGE",
    "PUT": f"PUT  {KEY}",
    "REMOVE": f"REMOVE {KEY}",
    "REMOVE-BEFORE": f"REMOVE-BEFORE 9999999999 {KEY}",
    "VERSION": "VERSION 3",
}
"""What a client sends for each request. KEY is absent."""
assert set(LINES) == set(REQUESTS)

ACTIONS = (*REQUESTS, *COMMANDS)


def refused(
    program: list[str],
    action: str,
    repository: Path,
    environment: Mapping[str, str],
    restriction: str | None = None,
    *,
    value: str = "1",
) -> bool:
    """Whether a program, started as sshd starts a login shell, refuses the action on a git-annex repository.

    `value` is that of the variable that sets the restriction.
    """
    variables = {**environment, **({} if restriction is None else {VARIABLES[restriction]: value})}
    command = [*program, "-c", _line(action, repository)]
    if action.startswith("CONNECT"):
        return not _connects(command, variables, LINES[action])
    sent = f"VERSION 4\n{LINES[action]}\n" if action in LINES else "0000"
    done = subprocess.run(
        command, env=variables, input=sent, capture_output=True, text=True, timeout=60, cwd=repository
    )
    said = (done.stdout + done.stderr).lower()
    return any(words in said for words in ("blocked by", "only allowed to access", "are allowed", "denied"))


def _connects(command: list[str], variables: Mapping[str, str], sent: str) -> bool:
    """Whether the git program replies. The client stays until then, because its end would end the program."""
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"VERSION 4\n{sent}".encode())
        for line in process.stdout:
            if line.startswith((b"DATA ", b"ERROR ")):
                process.kill()
                return line.startswith(b"DATA ")
    return False


def _line(action: str, repository: Path) -> str:
    directory = shlex.quote(os.fspath(repository))
    if action in LINES or action == "p2pstdio":
        return f"git-annex-shell p2pstdio {directory} {CLIENT}"
    if action == AUTOINIT:
        return f"git-annex-shell configlist {directory} -- autoinit=1 --"
    if action == OTHER:
        return f"cvs {directory}"
    if action.startswith("git-"):
        return f"{action} {directory}"
    keys = {"inannex": f" {KEY}", "dropkey": f" --force {KEY}"}
    return f"git-annex-shell {action} {directory}{keys.get(action, '')}"
