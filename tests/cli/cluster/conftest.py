"""A gateway directory, and stores to add to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.cluster.running import run


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    path = tmp_path / "gateway"
    run("cluster", "init", path, "--name", "family", "-q")
    for name in "ab":
        run("init", tmp_path / name, "-q")
    return path
