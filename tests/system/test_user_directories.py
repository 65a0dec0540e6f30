"""The user's directory for settings."""

from __future__ import annotations

import pytest

from p2pannex.system.user_directories import config_directory


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, "/home/me/.config/p2pannex"),
        ("", "/home/me/.config/p2pannex"),
        ("relative", "/home/me/.config/p2pannex"),
        ("/etc/mine", "/etc/mine/p2pannex"),
    ],
)
def test_a_variable_that_is_no_absolute_path_is_ignored(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if variable is None:
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", variable)
    assert config_directory() == expected
