"""Standard output that cannot be written to."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from p2pannex.cli import exit_codes
from tests.cli.running import ABSENT, P2PANNEX


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
