"""Several processes that serve one directory or repository, and keys that share an exclusion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pannex.keys.key import Key
from p2pannex.stores.files.exclusion import Exclusion
from p2pannex.stores.opening import open_directory
from p2pannex.system.file_locks import Busy
from p2pannex.testing.samples import key_of
from tests.stores.directories import files_below
from tests.stores.kinds import KINDS, annex_directory, make_store, records_directory


@pytest.mark.parametrize("kind", KINDS)
async def test_several_processes_serve_one_store(kind: str, tmp_path: Path) -> None:
    program = Path(__file__).parent / "contend.py"
    place = tmp_path / "store"
    make_store(kind, place)
    steps = "150" if kind == "directory" else "60"
    children = [
        subprocess.Popen(
            [sys.executable, str(program), str(place), str(seed), steps], stderr=subprocess.PIPE, text=True
        )
        for seed in range(4)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    async with open_directory(str(place)) as store:
        for key in store.keys():  # noqa: SIM118 - a method of the store
            content = Path(os.fsdecode(store.layout.find(key))).read_bytes()
            assert key == key_of(content)
    assert files_below(annex_directory(place) / "tmp") == set()
    assert files_below(records_directory(place)) == set()


def test_keys_in_one_directory_of_objects_share_an_exclusion(tmp_path: Path) -> None:
    """That makes it safe to remove a directory that has become empty."""
    keys = [Key(b"WORM-s1-m1--%d" % number) for number in range(20_000)]
    one = keys[0]
    same = [key for key in keys[1:] if key.hashdir_lower[:3] == one.hashdir_lower[:3]]
    other = next(key for key in keys if key.hashdir_lower[:2] != one.hashdir_lower[:2])
    assert same
    exclusion = Exclusion(os.fsencode(tmp_path))
    with exclusion.hold(one):
        for key in same:
            with pytest.raises(Busy), Exclusion(os.fsencode(tmp_path)).hold(key, 0):
                pass
        with exclusion.hold(other, 0):
            pass
