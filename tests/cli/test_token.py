"""`p2pannex token`."""

from __future__ import annotations

import json
import re
import time

import pytest

from p2pannex.access import TokenFile
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


def test_a_new_token_is_printed_with_quiet_too(store: str) -> None:
    assert re.fullmatch("[a-z0-9]{32}\n", run("token", "create", "-q", store).stdout)


@pytest.mark.parametrize("expires", ["0s", "2001-01-31", "2001-01-31T12:00"])
def test_a_token_that_has_expired_is_not_made(store: str, expires: str) -> None:
    assert "in the past" in run("token", "create", store, "--expires", expires, code=exit_codes.USAGE).stderr
    assert run("token", "list", store).stdout == ""


@pytest.mark.parametrize("mode", ["read-write", "append-only", "read-only"])
def test_the_mode_of_a_token_is_the_one_that_was_given(store: str, mode: str) -> None:
    made = json.loads(run("token", "create", store, "--mode", mode, "--json").stdout)
    assert made["mode"] == mode
    grant = TokenFile(store).verify(made["token"])
    assert grant is not None
    assert grant.mode.value == mode
