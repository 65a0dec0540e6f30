"""The file of tokens."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pannex.access import ALPHABET, Mode, TokenFile, TokensUnreadable
from p2pannex.errors import RemoteError
from tests.support.clocks import ManualClock


def test_a_token_grants_its_mode(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    made = {mode: tokens.create(mode=mode, name=mode.value) for mode in Mode}
    for mode, (token, grant) in made.items():
        assert tokens.verify(token) == grant
        assert (grant.mode, grant.name, grant.expires) == (mode, mode.value, None)
    assert tokens.grants() == [grant for _, grant in made.values()]


def test_a_token_is_allowed_by_the_protocol_and_cannot_be_guessed(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    seen = {tokens.create()[0] for _ in range(20)}
    assert len(seen) == 20
    assert all(set(token) <= set("abcdefghijklmnopqrstuvwxyz0123456789") for token in seen)
    assert all(len(ALPHABET) ** len(token) >= 2**160 for token in seen)
    assert len(set("".join(seen))) > 30


def test_capitals_do_not_matter(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create()
    assert tokens.verify(token.upper()) == grant


def test_tokens_come_from_the_systems_source_of_randomness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.choice", lambda alphabet: "z")
    token, _ = TokenFile(tmp_path).create()
    assert set(token) == {"z"}


def test_every_hash_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So how long it takes shows neither how similar a guess is nor which token it is."""
    tokens = TokenFile(tmp_path)
    made = [tokens.create()[0] for _ in range(3)]
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    for token in [*made, "unknown"]:
        compared.clear()
        tokens.verify(token)
        assert len(compared) == 3


@given(guess=st.text(alphabet=ALPHABET, max_size=40) | st.text(max_size=40))
def test_other_tokens_grant_nothing(tmp_path_factory: pytest.TempPathFactory, guess: str) -> None:
    directory = tmp_path_factory.getbasetemp() / "guesses"
    directory.mkdir(exist_ok=True)
    tokens = TokenFile(directory)
    if not tokens.grants():
        tokens.create()
    assert tokens.verify(guess) is None


def test_parts_of_a_token_grant_nothing(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token, _ = tokens.create()
    [entry] = json.loads((tmp_path / "p2pannex.access").read_text())["tokens"]
    for guess in ("", token[:-1], token + "a", token + " ", " " + token, entry["hash"], entry["id"], "\udcff"):
        assert tokens.verify(guess) is None


def test_a_directory_without_tokens_grants_nothing(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    assert tokens.verify("") is None
    assert tokens.grants() == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_secret_is_kept_or_shown(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create(name="laptop")
    for path in tmp_path.iterdir():
        assert token not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [entry] = json.loads((tmp_path / "p2pannex.access").read_text())["tokens"]
    shown = repr((tokens, grant, tokens.grants(), tokens.verify(token)))
    assert token not in shown
    assert entry["hash"] not in shown


def test_an_expired_token_grants_nothing(tmp_path: Path) -> None:
    clock = ManualClock(wall_now=1_000_000.0, never_read="monotonic")
    tokens = TokenFile(tmp_path, clock=clock)
    token, grant = tokens.create(expires=clock.wall_now + 10.9)
    assert grant.expires == 1_000_010
    clock.wall_now = 1_000_009.999
    assert tokens.verify(token) == grant
    assert tokens.surviving({grant}) == {grant}
    assert tokens.refusal("x" * 32) == "its token is not valid"
    clock.wall_now = 1_000_010
    assert tokens.verify(token) is None
    assert tokens.refusal(token) == f"its token {grant.id} expired at 1970-01-12 13:46:50 UTC"
    assert tokens.surviving({grant}) == set()
    assert tokens.grants() == [grant]


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_revoked_token_grants_nothing(tmp_path: Path, by: str) -> None:
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create(name="laptop")
    other, kept = tokens.create()
    serving = TokenFile(tmp_path)
    assert serving.verify(token) == grant
    assert tokens.revoke(grant.id if by == "id" else "laptop") == grant
    assert serving.verify(token) is None
    assert serving.verify(other) == kept
    assert serving.surviving({grant, kept}) == {kept}
    assert tokens.revoke(grant.id) is None


def test_an_empty_name_names_nothing(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    tokens.create()
    assert tokens.revoke("") is None
    assert len(tokens.grants()) == 1


def test_a_name_names_one_token(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    _, grant = tokens.create(name="laptop")
    for name in ("laptop", grant.id):
        with pytest.raises(RemoteError, match="choose another name"):
            tokens.create(name=name)
    with pytest.raises(RemoteError, match="one line of printable text"):
        tokens.create(name="two\nlines")
    assert tokens.grants() == [grant]


CORRUPT = {
    "empty": "",
    "no JSON": "tokens",
    "a list": "[]",
    "no tokens": "{}",
    "tokens that are none": '{"tokens": [1]}',
    "a token of nothing": '{"tokens": [{}]}',
    "deep": "[" * 100_000,
}
FIELDS = {
    "mode": "read-execute",
    "expires": "tomorrow",
    "expires ": True,
    "created": float("inf"),
    "hash": "",
    "hash ": "é" * 64,
    "hash  ": None,
}


@pytest.mark.parametrize("text", CORRUPT.values(), ids=CORRUPT)
def test_a_file_that_makes_no_sense_grants_nothing(tmp_path: Path, text: str) -> None:
    tokens = TokenFile(tmp_path)
    token, _ = tokens.create()
    (tmp_path / "p2pannex.access").write_text(text)
    refuses_everything(tokens, token)
    assert (tmp_path / "p2pannex.access").read_text() == text


@pytest.mark.parametrize(("field", "value"), FIELDS.items())
def test_a_token_that_makes_no_sense_makes_the_file_so(tmp_path: Path, field: str, value: object) -> None:
    tokens = TokenFile(tmp_path)
    token, _ = tokens.create()
    tokens.create()
    path = tmp_path / "p2pannex.access"
    content = json.loads(path.read_text())
    content["tokens"][1][field.strip()] = value
    path.write_text(json.dumps(content))
    refuses_everything(tokens, token)


def refuses_everything(tokens: TokenFile, token: str) -> None:
    for use in (lambda: tokens.verify(token), tokens.grants, tokens.create, lambda: tokens.revoke("x")):
        with pytest.raises(TokensUnreadable, match=r"is not a valid token file; repair it") as caught:
            use()
        assert "\n" not in str(caught.value)
        assert token not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "p2pannex.access").mkdir()
    with pytest.raises(TokensUnreadable, match=r"cannot read .*: Is a directory"):
        TokenFile(tmp_path).verify("x")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="cannot change"):
        TokenFile(tmp_path / "missing").create()


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token, grant = tokens.create()
    # The disk that fills up, in a process of its own: there files cannot grow.
    program = """if True:
        import resource, signal, sys
        from p2pannex.access import TokenFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        TokenFile(sys.argv[1]).create()
    """
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "RemoteError: cannot change" in result.stderr
    assert tokens.grants() == [grant]
    assert tokens.verify(token) == grant


def test_what_a_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    first, _ = tokens.create()
    (tmp_path / "p2pannex.access.new").write_text('{"tok')
    second, _ = tokens.create()
    assert tokens.verify(first)
    assert tokens.verify(second)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from p2pannex.access import TokenFile
        tokens = TokenFile(sys.argv[1])
        for number in range(10):
            tokens.create(name=f"{sys.argv[2]}-{number}")
            tokens.revoke(tokens.create(name=f"{sys.argv[2]}-gone-{number}")[1].id)
    """
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)]) for number in range(4)]
    tokens = TokenFile(tmp_path)
    while any(writer.poll() is None for writer in writers):
        tokens.grants()  # never half a file
    assert [writer.returncode for writer in writers] == [0] * 4
    assert {grant.name for grant in tokens.grants()} == {f"{w}-{n}" for w in range(4) for n in range(10)}
    assert sorted(os.listdir(tmp_path)) == ["p2pannex.access", "p2pannex.access.lock"]
