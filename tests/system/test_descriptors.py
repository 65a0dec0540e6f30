"""Raising the limit of file descriptors, in programs of their own: a limit that was lowered stays so."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from p2pannex.system.descriptors import raise_descriptor_limit
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(raise_descriptor_limit(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "found"),
    [(100, 500, 300, 300), (100, 500, 900, 500), (100, 500, 50, 100), (500, 500, 900, 500)],
    ids=["raised", "as far as possible", "never lowered", "at the hard limit"],
)
def test_the_soft_limit(soft: int, hard: int, wanted: int, found: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{found} {found} {hard}\n"
