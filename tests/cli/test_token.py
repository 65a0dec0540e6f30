"""`p2pannex token`."""

from __future__ import annotations

import json
import re
import time

from p2pannex.cli import exit_codes
from tests.cli.running import run


def test_tokens(store: str) -> None:
    made = json.loads(run("token", "create", store, "--mode", "read-only", "--expires", "90d", "--json").stdout)
    assert re.fullmatch("[a-z0-9]{32}", made["token"])
    assert abs(made["expires"] - time.time() - 90 * 86400) < 3600
    run("token", "create", store, "--name", "other", "--expires", "2999-01-31")
    first, second = run("token", "list", store).stdout.splitlines()
    assert first.startswith(made["id"])
    assert "read-only" in first
    assert second.endswith("other")
    assert made["token"] not in first
    assert run("token", "revoke", store, "other").stdout.startswith("revoked ")
    run("token", "revoke", store, "other", code=exit_codes.NO)
    (left,) = (json.loads(each) for each in run("token", "list", store, "--json").stdout.splitlines())
    assert left["id"] == made["id"]
