"""A special remote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.external.special_remote import Remote


@pytest.fixture(params=[(), ("2", "async")], ids=["one at a time", "async"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote", *request.param)
