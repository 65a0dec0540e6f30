"""Names of logs, on the branch and in the journal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.git_annex.logs.names import InvalidName, branch_path, is_location_log, journal_name, location_log_path
from p2pannex.keys.key import Key
from tests.git_annex.logs.examples import KEY


@given(st.binary(max_size=40))
def test_journal_names_lead_back_to_the_path(path: bytes) -> None:
    try:
        name = journal_name(path)
    except InvalidName:
        return
    assert b"/" not in name
    assert branch_path(name) == path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"uuid.log", b"uuid.log"),
        (b"f87/4d5/WORM--a_b.log", b"f87_4d5_WORM--a__b.log"),
        (b"a_/b", b"a___b"),
        (b"a__b", b"a____b"),
    ],
)
def test_journal_names(path: bytes, name: bytes) -> None:
    assert journal_name(path) == name
    assert branch_path(name) == path


@pytest.mark.parametrize("path", [b"", b"/a", b"a/", b"a/_b", b"a\nb", b"a\0b"])
def test_paths_that_the_journal_cannot_name(path: bytes) -> None:
    with pytest.raises(InvalidName):
        journal_name(path)


def test_the_path_of_a_location_log() -> None:
    key = Key("URL--http://x/y_z")
    assert location_log_path(key) == key.hashdir_lower + b"/URL--http&c%%x%y_z.log"
    assert is_location_log(location_log_path(key))
    for other in (b"uuid.log", b"aaa/bbb/" + KEY.file_name + b".log", location_log_path(KEY) + b".web", b"a/b/c.log"):
        assert not is_location_log(other)
