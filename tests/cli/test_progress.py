"""Progress bars, for terminals only."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

from tests.cli.running import P2PANNEX, run_child, served


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
