"""An account with a store, and p2pannex-shell to run for it."""

import subprocess
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.cli.shell.shell import Shell


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of the account, with a store, a git repository and other things in it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "nonbare")], check=True)
    DirectoryStore.create(tmp_path / "store")
    DirectoryStore.create(tmp_path / "it's a store")
    return tmp_path


@pytest.fixture
def uuid(home: Path) -> str:
    return DirectoryStore(home / "store").uuid


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)
