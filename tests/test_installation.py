"""What `pip install p2pannex` brings, and what of it the library loads."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

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


# p2pannex-shell, which is no script of pip's ------------------------------------------------------------------------

LAUNCHER = Path(__file__).parent.parent / "scripts/p2pannex-shell"


def test_the_program_that_ssh_runs_is_installed() -> None:
    installed = Path(sysconfig.get_path("scripts"), "p2pannex-shell")
    assert installed.read_text() == LAUNCHER.read_text(), "p2pannex-shell is of another version: pip install -e . again"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the program, and a Python that shows how it is started."""
    place = tmp_path / "a bin"
    place.mkdir()
    shutil.copy(LAUNCHER, place / "p2pannex-shell")
    python = place / "python3"
    python.write_text('#!/bin/sh\necho "$1" "$4" "$5"\n')
    python.chmod(0o755)
    return place


def started(program: Path, **variables: str) -> str:
    command = [str(program), "-c", "a b"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables}).stdout


@pytest.mark.parametrize(
    "script",
    [
        "#!@/python3\nimport sys\n",
        "#!/bin/sh\n'''exec' \"@/python3\" \"$0\" \"$@\"\n' '''\n",  # pip's, if there are spaces
        "#!/bin/sh\n'''exec' '@/python3' \"$0\" \"$@\"\n' '''\n",  # uv's
        "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python3' \"$0\" \"$@\"\n' '''\n",
        "#!/usr/bin/env python3\n",
    ],
)
def test_the_python_that_pip_chose(place: Path, script: str) -> None:
    (place / "p2pannex").write_text(script.replace("@", str(place)))
    assert started(place / "p2pannex-shell") == "-I -c a b\n"
    link = place.parent / "git-annex-shell"
    link.symlink_to("a bin/p2pannex-shell")
    assert started(link) == "-I -c a b\n"
    assert started(Path("p2pannex-shell"), PATH=f"{place}:{os.environ['PATH']}") == "-I -c a b\n"


def test_what_pip_has_installed_for_one_user(place: Path) -> None:
    """Isolated as far as possible: p2pannex itself is in the user site."""
    home = place.parent / "home"
    (home / ".local").mkdir(parents=True)
    (place / "p2pannex").write_text(f"#!{place}/python3\n")
    place.rename(home / ".local/bin")
    assert started(home / ".local/bin/p2pannex-shell", HOME=str(home)) == "-EP -c a b\n"
    other = place.parent / "other"
    other.symlink_to(home)
    (home / ".local/bin/git-annex-shell").symlink_to("p2pannex-shell")
    for name in ("p2pannex-shell", "git-annex-shell"):
        for begin in (home, other):
            assert started(begin / ".local/bin" / name, HOME=str(other)) == "-EP -c a b\n"


def test_p2pannex_is_missing(place: Path) -> None:
    done = subprocess.run([place / "p2pannex-shell"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"p2pannex-shell: there is no {place}/p2pannex; install p2pannex again\n"


def test_no_variable_adds_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for module in ("sitecustomize", "usercustomize", "p2pannex", "trio", "os"):
        (tmp_path / f"{module}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    variables = {name: str(tmp_path) for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE")}
    program = Path(sysconfig.get_path("scripts"), "p2pannex-shell")
    done = subprocess.run(
        [program, "--help"],
        env={**os.environ, **variables, "PYTHONINSPECT": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.startswith("usage: p2pannex-shell")
    assert not mark.exists()


# Lock files -----------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parent.parent
PINNED = re.compile(
    r"^([\w.-]+)==([\w.]+)(?: ;[^\\]*)? \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file, with their versions."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found = {match[1]: match[2] for match in PINNED.finditer(text)}
    names = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    assert set(names) == set(found), "every package has hashes"
    return found


def declared(*extras: str) -> set[str]:
    """The packages that pyproject.toml requires, with those of these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    return names - {"p2pannex"}


def test_the_lock_files_have_all_that_is_required() -> None:
    assert declared() <= set(locked("runtime"))
    assert declared("build") <= set(locked("build"))
    assert declared("build", "dev", "docs", "lint", "test", "testing") <= set(locked("dev"))
    assert locked("runtime").items() <= locked("build").items() <= locked("dev").items(), "run nox -s lock"


def test_the_container_installs_by_hash_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    installs = [part for line in lines for part in line.split("&&") if " install -" in part and "pip" in part]
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-deps" in each for each in installs)
    instructions = [line.partition(" ")[::2] for line in lines]
    copied = [text.split()[:-1] for name, text in instructions if name == "COPY" and not text.startswith("--from")]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    assert ("USER", "annex") in instructions[-6:]
