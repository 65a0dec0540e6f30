"""Completion in a shell."""

from __future__ import annotations

from click.testing import CliRunner

from p2pannex.cli.program import program
from tests.cli.running import KEY, run


def complete(words: str) -> list[str]:
    environment = {
        "_P2PANNEX_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(program, [], env=environment, prog_name="p2pannex")
    return [each.partition(",")[2] for each in result.stdout.split()]


def test_completion(full: str) -> None:
    assert complete("p2pannex qu") == ["quickstart"]
    assert "--while-locked-on" in complete("p2pannex remove --wh")
    assert {"SHA3_256", "SHA3_256E"} <= set(complete("p2pannex put --backend SHA3_"))
    assert complete(f"p2pannex check {full} SHA") == [KEY]
    assert complete(f"p2pannex get {full} WORM") == []
    assert "tls://" in complete("p2pannex check tl")
    for shell in ("bash", "zsh", "fish"):
        assert "_P2PANNEX_COMPLETE" in run("completion", shell).stdout
