"""What contributors and CI run. `nox -l` lists the sessions; CONTRIBUTING.md says when to run which.

Each session makes a virtual environment of its own below .nox. Inside an environment that has `.[dev]` already, as in
CI, `nox --no-venv --no-install` uses that one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "fast"]

FLOORS: dict[str, float] = nox.project.load_toml("pyproject.toml")["tool"]["p2pannex"]["coverage"]["floors"]

LOCKS = {"runtime": [], "build": ["--extra", "build"], "dev": ["--extra", "dev"]}
"""The lock files in requirements/: what the programs need, that and the build backend, and what contributors need."""

SBIN = {"PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin"}
"""Debian keeps sshd where users do not look for programs."""


def pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    session.install("-e", ".[test]")
    session.run("pytest", "-q", *arguments, *session.posargs, env={**session.env, **(env or {})})


@nox.session
def fast(session: nox.Session) -> None:
    """The tests that need neither git-annex nor sshd. `-- PATH` for some of them."""
    pytest(session, "-m", "not compat")


@nox.session
def lowest(session: nox.Session) -> None:
    """The fast tests with the lowest versions that pyproject.toml allows. `-- PATH` for some of them."""
    session.install("uv")
    python = os.path.join(session.bin, "python")
    session.run("uv", "pip", "install", "-q", "--python", python, "--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-q", "-m", "not compat", *session.posargs, env=session.env)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/*.txt: the newest version of each package, with its hashes, for Python 3.11 and later."""
    session.install("uv")
    for name, options in LOCKS.items():
        file = f"requirements/{name}.txt"
        command = (
            f"uv pip compile pyproject.toml -q --upgrade --universal --python-version 3.11 --generate-hashes -o {file}"
        )
        session.run(*command.split(), *options, env={"UV_CUSTOM_COMPILE_COMMAND": "nox -s lock"})


@nox.session
def audit(session: nox.Session) -> None:
    """Does a package in requirements/dev.txt have a known vulnerability? pip-audit asks the database of PyPI."""
    session.install("pip-audit")
    session.run(
        "pip-audit", "--strict", "--disable-pip", "--require-hashes", "-r", "requirements/dev.txt", *session.posargs
    )


@nox.session
def compat(session: nox.Session) -> None:
    """The tests with the real git-annex, OpenSSH and git."""
    pytest(session, "-m", "compat")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests."""
    pytest(session)


@nox.session
def cases(session: nox.Session) -> None:
    """Run the programs in ../shared/cases, if it exists: they use p2pannex from outside. `-- NAME` for some of them."""
    session.install("-e", ".[test]")
    session.run("python", "tools/run_cases.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy and pyright, and whether what is generated is up to date."""
    session.install("-e", ".[docs,lint,test]", "nox")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright")
    session.run("python", "protocol-spec/generate.py", "--check")
    session.run("python", "tools/access_table.py", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/site/; a link that leads nowhere is an error. `-- serve` shows it."""
    session.install("-e", ".[docs]")
    session.run("python", "tools/docs_site.py", "build/pages")
    session.run("zensical", *(session.posargs or ["build", "--clean", "--strict"]))


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests, and the programs they start, with coverage; then the floors."""
    session.install("-e", ".[test]")
    session.run("coverage", "erase")
    pytest(session, env={"COVERAGE_PROCESS_START": os.path.abspath("pyproject.toml")})
    session.notify("floors", posargs=[])


@nox.session
def floors(session: nox.Session) -> None:
    """Compare the coverage that was measured last with the floors in pyproject.toml."""
    session.install("-e", ".[test]")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
    low = []
    for folder, floor in FLOORS.items():
        include = f"--include=p2pannex/{folder}/*"
        total = session.run("coverage", "report", include, "--format=total", silent=True, log=False)
        session.log(f"{folder}/: {str(total).strip()} % covered, floor {floor} %")
        if float(str(total)) < floor:
            low.append(folder)
    if low:
        session.error(f"less is covered than pyproject.toml demands: {', '.join(low)}")


@nox.session(python=["3.11", "3.12", "3.13"])
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel alone, and run both programs from it."""
    built = Path(session.create_tmp(), "dist")
    shutil.rmtree(built, ignore_errors=True)
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(built), silent=True)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    empty = Path(session.create_tmp(), "empty").absolute()
    session.run("python", "-m", "venv", "--clear", str(empty))
    session.run(str(empty / "bin/pip"), "install", "-q", str(wheel.absolute()), external=True)
    session.run(str(empty / "bin/python"), "tools/try_installed.py", external=True)


@nox.session
def mutation(session: nox.Session) -> None:
    """Change one module in many small ways; which changes do its tests miss? `-- p2pannex/a/b.py [TESTS...]`."""
    if not session.posargs:
        session.error("of which module? nox -s mutation -- p2pannex/transfer/drop.py [TESTS...]")
    module, *tests = session.posargs
    folder, name = os.path.split(module)
    tests = tests or [f"{folder.replace('p2pannex', 'tests', 1)}/test_{name}"]
    for path in (module, *tests):
        if not os.path.exists(path):
            session.error(f"{path} does not exist")
    session.install("-e", ".[test]", "mutmut>=3.8")
    copy = Path(session.create_tmp(), "mutation")  # mutmut is configured by a file, and leaves files where it runs
    shutil.rmtree(copy, ignore_errors=True)
    for file in str(session.run("git", "ls-files", external=True, silent=True, log=False)).splitlines():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy / file)
    settings = {
        "source_paths": ["p2pannex/"],
        "only_mutate": [module],
        "also_copy": ["examples", "tests", "protocol-spec", "docs", "README.md"],
        "pytest_add_cli_args": ["-n0", "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": tests,
    }
    with open(copy / "pyproject.toml", "a") as configuration:
        configuration.write("\n[tool.mutmut]\n")
        configuration.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    session.chdir(copy)
    session.run("mutmut", "run", silent=True)
    survivors = str(session.run("mutmut", "results", silent=True, log=False))
    for line in survivors.splitlines():
        name, _, status = line.strip().partition(": ")
        session.log(f"{status}: {name}")
        session.run("mutmut", "show", name, log=False)
    session.run("mutmut", "export-cicd-stats", silent=True, log=False)
    counts = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text())
    session.log(", ".join(f"{count} {status}" for status, count in counts.items() if count))


@nox.session
def harmful(session: nox.Session) -> None:
    """Which changes of tools/harmful/ do the fast tests miss? It takes hours. `-- TEXT` for some of them."""
    session.install("-e", ".[test]")
    session.run("python", "tools/harmful_changes.py", *session.posargs)
