"""Which program serves on a server: what is remembered of it, where, and for how long."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from p2pannex.transports.remote_shells import ENTRIES, LIFETIME, SHELLS, RemoteShells, remote_shells

OURS, THEIRS = SHELLS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "p2pannex" / "remote-shells.json"


def test_only_what_differs_from_the_default_is_written(path: Path) -> None:
    shells = RemoteShells(str(path))
    assert shells.order("me@host:22") == (OURS, THEIRS)
    shells.remember("me@host:22", OURS)
    assert not path.exists()
    shells.remember("me@host:22", THEIRS)
    for each in (shells, RemoteShells(str(path))):
        assert each.order("me@host:22") == (THEIRS, OURS)
        assert each.order("host") == (OURS, THEIRS)
    shells.remember("me@host:22", OURS)
    for each in (shells, RemoteShells(str(path))):
        assert each.order("me@host:22") == (OURS, THEIRS)
    assert json.loads(path.read_text()) == {}
    assert path.stat().st_mode & 0o077 == 0


def test_the_file_is_bounded_and_the_oldest_entries_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    for number in range(ENTRIES + 3):
        now += 1
        RemoteShells(str(path)).remember(f"host{number}", THEIRS)
    kept = json.loads(path.read_text())
    assert len(kept) == ENTRIES
    assert "host2" not in kept
    assert f"host{ENTRIES + 2}" in kept
    assert RemoteShells(str(path)).order("host7")[0] == THEIRS
    now += LIFETIME
    assert RemoteShells(str(path)).order(f"host{ENTRIES + 2}")[0] == OURS, "it may have been installed since"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b'{"host": "x"}', b'{"host": null}', b"\xff", b"[" * 9999]
)
def test_a_damaged_file_is_replaced(path: Path, damage: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    shells = RemoteShells(str(path))
    assert shells.order("host") == (OURS, THEIRS)
    shells.remember("host", THEIRS)
    assert RemoteShells(str(path)).order("host") == (THEIRS, OURS)


@pytest.mark.parametrize("obstacle", ["file instead of a directory", "directory instead of the file"])
def test_without_a_file_this_process_remembers(path: Path, obstacle: str) -> None:
    if obstacle.startswith("file"):
        path.parent.parent.write_bytes(b"")
    else:
        path.mkdir(parents=True)
    shells = RemoteShells(str(path))
    shells.remember("host", THEIRS)
    assert shells.order("host") == (THEIRS, OURS)
    shells.remember("host", OURS)
    assert shells.order("host") == (OURS, THEIRS)
    assert RemoteShells(str(path)).order("host") == (OURS, THEIRS)
    assert not path.is_dir() or not list(path.parent.glob("tmp*")), "nothing is left behind"


def test_the_directory_is_xdg_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value, base in ((str(tmp_path / "c"), tmp_path / "c"), ("relative", tmp_path / "home" / ".cache"), ("", None)):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        remote_shells().remember("host", THEIRS)
        assert ((base or tmp_path / "home" / ".cache") / "p2pannex" / "remote-shells.json").is_file()
        assert remote_shells() is remote_shells()
