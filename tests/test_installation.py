"""What `pip install p2pannex` brings, and what of it the library loads."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys

import pytest

OF_THE_PROGRAMS = {"blake3", "click", "rich", "xxhash"}
"""Packages that are installed for the two programs, and that the library does without."""


def required(distribution: str) -> set[str]:
    """What a distribution requires, without extras, by the names on PyPI."""
    requirements = importlib.metadata.requires(distribution) or []
    names = [re.match(r"[\w.-]+", line) for line in requirements if "extra ==" not in line]
    return {match[0].lower().replace("_", "-") for match in names if match is not None}


def with_all_required(*distributions: str) -> set[str]:
    found: set[str] = set()
    wanted = set(distributions)
    while wanted:
        name = wanted.pop()
        try:
            wanted |= required(name) - found - {name}
        except importlib.metadata.PackageNotFoundError:
            continue  # required on other systems, or by other versions of Python
        found.add(name)
    return found


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded at its end, in a Python of its own."""
    program = f"{program}\nimport json, sys; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stdout)
    return set(modules)


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_programs_have_all_they_need() -> None:
    assert required("p2pannex") == {"attrs", "trio"} | OF_THE_PROGRAMS
    extras = importlib.metadata.metadata("p2pannex").get_all("Provides-Extra") or []
    assert {"cli", "hashes"} <= set(extras), "older instructions name them"


def test_import_loads_nothing_but_itself() -> None:
    """No part of the library, and no package, before a name is used."""
    modules = loaded("import p2pannex") - loaded("") - sys.stdlib_module_names
    assert modules == {"p2pannex"}


def test_the_public_names_need_trio_and_attrs_only() -> None:
    modules = loaded("import p2pannex\nfor name in p2pannex.__all__: getattr(p2pannex, name)")
    assert {"trio", "attr"} <= modules
    allowed = with_all_required("attrs", "trio") | {"p2pannex"}
    providers = importlib.metadata.packages_distributions()
    foreign = packages(modules - loaded("")) - sys.stdlib_module_names
    for package in foreign:
        assert {name.lower() for name in providers.get(package, [package])} & allowed, f"{package} was loaded"
    assert not foreign & (OF_THE_PROGRAMS | {"msgpack"})


@pytest.mark.parametrize(
    ("backend", "package"), [("SHA256", None), ("BLAKE2B512", None), ("BLAKE3_256", "blake3"), ("XXH3", "xxhash")]
)
def test_a_verifier_loads_the_package_of_its_hash_only(backend: str, package: str | None) -> None:
    program = f"from p2pannex import Key\nkey = Key.make({backend!r}, '0', size=1)\n"
    assert not packages(loaded(program)) & OF_THE_PROGRAMS
    assert packages(loaded(program + "key.verifier()")) & OF_THE_PROGRAMS == ({package} if package else set())
