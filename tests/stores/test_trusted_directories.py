"""The account's list of directories whose configuration it trusts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pannex.errors import RemoteError
from p2pannex.stores import trusted_directories as trusted

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    return tmp_path / "configuration"


def test_the_list(tmp_path: Path, configuration: Path) -> None:
    one, link = tmp_path / "one", tmp_path / "link"
    one.mkdir()
    link.symlink_to("one")
    assert not trusted.is_trusted(str(one))
    trusted.distrust(str(one))
    trusted.trust(str(link))
    trusted.trust(str(one))
    assert trusted.is_trusted(str(one))
    assert trusted.is_trusted(bytes(link))
    assert not trusted.is_trusted(str(tmp_path))
    path = configuration / "p2pannex/trusted-directories"
    assert path.read_text() == f"{os.geteuid()} {one}\n"
    assert path.stat().st_mode & 0o077 == 0
    trusted.distrust(str(one))
    assert trusted.trusted_directories() == {}


def test_a_list_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert trusted.list_path() == bytes(tmp_path / ".config/p2pannex/trusted-directories")


def test_lines_that_make_no_sense(tmp_path: Path, configuration: Path) -> None:
    (configuration / "p2pannex").mkdir(parents=True)
    path = configuration / "p2pannex/trusted-directories"
    path.write_text(f"# what is this\n{tmp_path}\n0 relative\n-1 /x\n0 /y z\n\n")
    assert trusted.trusted_directories() == {b"/y z": 0}


def test_a_name_that_cannot_be_on_it(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    with pytest.raises(RemoteError, match="line break"):
        trusted.trust(str(tmp_path / "a\nb"))


def test_a_list_that_cannot_be_written(tmp_path: Path, configuration: Path) -> None:
    configuration.write_text("a file, not a directory")
    with pytest.raises(RemoteError, match=r"cannot change .*trusted-directories"):
        trusted.trust(str(tmp_path))
    assert not trusted.is_trusted(str(tmp_path))


@as_root
def test_what_another_user_owns(tmp_path: Path) -> None:
    directory, file = tmp_path / "directory", tmp_path / "directory/file"
    directory.mkdir()
    file.touch()
    assert trusted.owner_problem(str(directory), b"file", b"absent") is None
    os.chown(file, OTHER, OTHER)
    problem = trusted.owner_problem(str(directory), b"file")
    assert problem is not None
    assert problem.startswith(f"{file} belongs to user {OTHER}, not to user 0, who runs this; ")
    assert problem.endswith(f"allow it with: p2pannex trust {directory}")
    os.chown(directory, OTHER, OTHER)
    trusted.trust(str(directory))
    assert trusted.owner_problem(str(directory), b"file") is None
    assert trusted.is_trusted(str(directory))


@as_root
def test_another_user_takes_the_place_of_a_trusted_directory(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    trusted.trust(str(directory))
    os.chown(directory, OTHER, OTHER)
    assert not trusted.is_trusted(str(directory))
    assert trusted.owner_problem(str(directory)) is not None


@as_root
def test_a_directory_of_ours_takes_the_place_of_a_trusted_one_of_another_user(tmp_path: Path) -> None:
    """Its parent may belong to that user, who has moved it there."""
    directory = tmp_path / "directory"
    directory.mkdir()
    os.chown(directory, OTHER, OTHER)
    trusted.trust(str(directory))
    os.chown(directory, os.geteuid(), -1)
    assert not trusted.is_trusted(str(directory))


@as_root
def test_a_list_that_another_user_wrote(tmp_path: Path, configuration: Path) -> None:
    trusted.trust(str(tmp_path))
    os.chown(configuration / "p2pannex/trusted-directories", OTHER, OTHER)
    assert trusted.trusted_directories() == {}


@as_root
def test_who_became_root_with_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    os.chown(directory, OTHER, OTHER)
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    assert trusted.owner_problem(str(directory)) is None
