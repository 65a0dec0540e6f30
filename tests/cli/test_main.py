"""How `p2pannex` starts."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
