"""The command line that ssh hands over."""

import pytest

from p2pannex.cli.shell.command_line import CommandRefused, resolve, split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  ", []),
        ("a b", ["a", "b"]),
        (" a\tb\n", ["a", "b"]),
        ("'a b'c", ["a bc"]),
        ("''", [""]),
        ('a "" b', ["a", "", "b"]),
        ("'a\\b'", ["a\\b"]),
        ('"a\\"b\\\\c\\d\\$"', ['a"b\\c\\d$']),
        ("a\\ b", ["a b"]),
        ("$HOME `id` ;", ["$HOME", "`id`", ";"]),
        ("'it'\"'\"'s'", ["it's"]),
    ],
)
def test_the_words_of_a_command_line(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("line", ["'a", '"a', "a\\", "'a\\'b'"])
def test_a_command_line_that_does_not_end(line: str) -> None:
    with pytest.raises(CommandRefused):
        split(line)


def test_directories_are_resolved_from_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for written in ("x", "~/x", "/~/x", "./x", "/home/me/x/", "//home/me/x", "/home/me/y/../x", "~/../me/x"):
        assert resolve(written) == "/home/me/x"
    for written in ("", "~", "/~", "~/", "/~/", "."):
        assert resolve(written) == "/home/me"
    assert resolve("~other/x") == "/home/me/~other/x"
