"""Commands from before the P2P protocol."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.shell.shell import CLIENT, KEY, Shell


@pytest.fixture(params=["store", "bare.git"])
def stored(request: pytest.FixtureRequest, shell: Shell) -> str:
    """A store of either kind, with KEY's content in it."""
    git = ["git", "-C", str(shell.home / "bare.git"), "config"]
    subprocess.run([*git, "annex.uuid", CLIENT], check=True)
    subprocess.run([*git, "annex.version", "10"], check=True)
    directory = f"@/{request.param}"
    done = shell.run("p2pstdio", directory, CLIENT, stdin=f"VERSION 1\nPUT  {KEY}\nDATA 5\nhelloVALID\n")
    assert done.stdout.endswith("SUCCESS\n")
    return directory


def test_inannex(shell: Shell, stored: str) -> None:
    for keys, status in (([KEY], 0), ([], 0), (["WORM--x"], 1), ([KEY, "WORM--x"], 1), ([KEY, KEY], 0)):
        done = shell.run("-c", " ".join(["git-annex-shell", "inannex", stored.replace("@", "~"), *keys]))
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_inannex_that_cannot_be_told(shell: Shell, home: Path) -> None:
    (home / "store/p2pannex.toml").write_text(f'uuid = "{CLIENT}"\ndisk_reserve = "much"\n')
    assert shell.run("inannex", "@/store", KEY).returncode == 100


def test_dropkey(shell: Shell, stored: str) -> None:
    for variable in ("GIT_ANNEX_SHELL_READONLY", "GIT_ANNEX_SHELL_APPENDONLY"):
        refusal = shell.refuses("dropkey", stored, "--force", KEY, **{variable: "0"})
        assert refusal == f"action blocked by {variable}"
    assert "not a key" in shell.refuses("dropkey", stored, "--force", KEY, "x")
    assert shell.run("inannex", stored, KEY).returncode == 0
    for _ in range(2):
        done = shell.run("dropkey", stored, "--force", KEY, "WORM--x")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert shell.run("inannex", stored, KEY).returncode == 1


def test_dropkey_of_locked_content(shell: Shell, stored: str) -> None:
    shell.run("p2pstdio", stored, CLIENT, stdin=f"LOCKCONTENT {KEY}\n")  # leaves without giving it back
    assert shell.refuses("dropkey", stored, "--force", KEY) == "content is locked"
    assert shell.refuses("dropkey", stored, "--force", KEY, "WORM--x") == "content is locked"
    assert shell.run("inannex", stored, KEY).returncode == 0


OBSOLETE = "{} is not supported: it predates git-annex's P2P protocol; use a newer git-annex"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "this account serves git-annex repositories; interactive logins are refused"),
        (["-c"], "-c takes one parameter, a command line"),
        (["-c", "a", "b"], "-c takes one parameter, a command line"),
        (["-c", "git-annex-shell"], "the command is missing; see p2pannex-shell --help"),
        (["-c", "git-annex-shell 'foo' '@/store'"], "there is no command 'foo'; see p2pannex-shell --help"),
        (["-c", "git-annex-shell 'configlist' '@/store'; id"], "configlist takes a directory and nothing else"),
        (["-c", "git-annex-shell 'configlist' '@/store;id'"], "there is no @/store;id"),
        (["-c", "git-annex-shell 'configlist' '@/store' && id"], "configlist takes a directory and nothing else"),
        (["-c", "git-annex-shell 'configlist"], "the command line has a quote that is not closed"),
        (["notifychanges", "@/store"], "there is no git repository in @/store whose changes could be reported"),
        (["notifychanges", "@/nosuch"], "there is no @/nosuch"),
        (["inannex", "@/store", "x"], "not a key: b'x' is not of the form BACKEND-FIELDS--NAME"),
        (["dropkey", "@/store", KEY], "dropkey can cause data loss; use --force if you're sure you want to do this"),
        (["dropkey", "@/nosuch", "--force", KEY], "there is no @/nosuch"),
        (["-c", "git-annex-shell 'recvkey' '@/store' 'x'"], OBSOLETE.format("recvkey")),
    ],
)
def test_what_is_refused(shell: Shell, words: list[str], problem: str) -> None:
    assert shell.refuses(*words) == problem
