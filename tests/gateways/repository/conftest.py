"""A gateway repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateways.repository.gateway import Gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    made = Gateway(tmp_path)
    for name in "ab":
        made.node(name)
    return made
