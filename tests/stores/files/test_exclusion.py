"""Several processes that serve one directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.samples import key_of
from tests.stores.directories import files_below


def test_several_processes_serve_one_directory(directory: Path) -> None:
    program = Path(__file__).parent / "contend.py"
    children = [
        subprocess.Popen([sys.executable, str(program), str(directory), str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    store = DirectoryStore(directory)
    for key in store.keys():  # noqa: SIM118 - a method of the store
        content = Path(os.fsdecode(store.layout.find(key))).read_bytes()
        assert key == key_of(content)
    assert files_below(directory / "annex" / "tmp") == set()
    assert files_below(directory / "annex" / "retention") == set()
