"""Git is run on the repository that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.stores.annex.store import AnnexStore
from tests.stores.annex.repository import UUID, make


async def test_git_variables_of_others_do_not_lead_astray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make(tmp_path / "other", annex_uuid="other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.delenv("GIT_DIR")
    repository = make(tmp_path / "r")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    async with AnnexStore(repository) as one:
        assert one.uuid == UUID
