"""p2pannex-shell as ssh and git-annex run it: configlist, restrictions, and commands that are git's."""

import subprocess
from pathlib import Path

import pytest

from p2pannex.stores.directory import DirectoryStore
from tests.cli.shell.shell import CLIENT, Shell

# configlist ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["configlist", "@/store"],
        ["configlist", "@/store/"],
        ["configlist", "@//store"],
        ["configlist", "@/elsewhere/../store"],
        ["configlist", "~/store"],
        ["configlist", "/~/store"],
        ["configlist", "/~//store"],
        ["configlist", "store"],  # to the home directory, wherever it is run
        ["configlist", "@/store", "--", "autoinit=1", "--"],
        ["configlist", "@/store", "--", "autoinit=1"],
        ["configlist", "@/store", "--debug"],
        ["-c", "git-annex-shell 'configlist' '@/store'"],
        ["-c", "p2pannex-shell 'configlist' '@/store'"],
        ["-c", "git-annex-shell configlist /~/store -- autoinit=1 --"],
        ["-c", 'git-annex-shell "configlist" "@/store"'],
    ],
)
def test_configlist(shell: Shell, uuid: str, words: list[str]) -> None:
    done = shell.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"annex.uuid={uuid}\ncore.gcrypt-id=\n"


def test_configlist_of_a_name_that_needs_quotes(shell: Shell, home: Path) -> None:
    uuid = DirectoryStore(home / "it's a store").uuid
    for quoted in ("'@/it'\\''s a store'", "'@/it'\"'\"'s a store'", '"@/it\'s a store"', "@/it\\'s\\ a\\ store"):
        assert uuid in shell.run("-c", f"git-annex-shell 'configlist' {quoted}").stdout


@pytest.mark.parametrize("name", ["bare.git", "bare", "nonbare", "nonbare/.git"])
def test_git_annex_repositories(shell: Shell, home: Path, name: str) -> None:
    repository = home / ("bare.git" if name == "bare" else name)
    uuid = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
    for setting, value in (("annex.uuid", uuid), ("annex.version", "10")):
        subprocess.run(["git", "-C", str(repository), "config", setting, value], check=True)
    assert shell.run("configlist", f"@/{name}").stdout == f"annex.uuid={uuid}\ncore.gcrypt-id=\n"
    done = shell.run("p2pstdio", f"@/{name}", CLIENT, "--uuid", uuid, stdin="CHECKPRESENT WORM--x\nVERSION 4\n")
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nFAILURE\nVERSION 4\n"
    assert done.stderr == ""
    assert "expected repository UUID" in shell.refuses("p2pstdio", f"@/{name}", CLIENT, "--uuid", "other")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["@/nosuch"], "there is no @/nosuch"),
        (["@/file"], "@/file is not a p2pannex store; is its disk mounted?"),
        (["@/empty"], "@/empty is not a p2pannex store; is its disk mounted?"),
        (["@/bare.git", "--uuid", "x"], "expected repository UUID x but found uninitialized repository"),
        ([""], "@ is not a p2pannex store; is its disk mounted?"),
        (["~"], "@ is not a p2pannex store; is its disk mounted?"),
        ([], "configlist needs a directory"),
        (["@/store", "more"], "configlist takes a directory and nothing else"),
        (["@/store", "--foo"], "invalid option --foo"),
    ],
)
def test_configlist_that_cannot_be(shell: Shell, words: list[str], problem: str) -> None:
    assert shell.refuses("configlist", *words) == problem


def test_a_configuration_that_makes_no_sense(shell: Shell, home: Path) -> None:
    (home / "store/p2pannex.toml").write_text('uuid = "a b"\n')
    assert shell.refuses("configlist", "@/store") == "cannot use @/store/p2pannex.toml: it has no usable uuid"
    (home / "store/p2pannex.toml").write_text("what is this\n")
    assert shell.refuses("configlist", "@/store").startswith("cannot use @/store/p2pannex.toml: ")


# Restrictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", ["@/store", "@/store/", "~/store", "/~/store", "store", ""])
@pytest.mark.parametrize("asked", ["@/store", "~/store", "/~/store", "store", "@/elsewhere/../store"])
def test_one_directory_that_is_allowed(shell: Shell, allowed: str, asked: str) -> None:
    assert shell.run("p2pstdio", asked, CLIENT, GIT_ANNEX_SHELL_DIRECTORY=allowed).returncode == 0


@pytest.mark.parametrize(
    ("words", "other"),
    [
        (["configlist", "@/bare.git"], "@/bare.git"),
        (["p2pstdio", "@/store/../bare.git", CLIENT], "@/bare.git"),
        (["notifychanges", "~/nosuch"], "@/nosuch"),
        (["-c", "git-annex-shell 'configlist' '/~/bare.git'"], "@/bare.git"),
        (["-c", "git-upload-pack '@/bare.git'"], "@/bare.git"),
        (["-c", "git-receive-pack '~/bare.git'"], "@/bare.git"),
        (["git-upload-pack '@/bare.git'"], "@/bare.git"),
    ],
)
def test_another_directory_is_refused(shell: Shell, words: list[str], other: str) -> None:
    said = shell.refuses(*words, GIT_ANNEX_SHELL_DIRECTORY="@/store")
    assert said == f"only allowed to access @/store, not {other}"


def test_with_one_directory_no_command_goes_without(shell: Shell) -> None:
    for line in ("git-upload-pack", "id", ""):
        said = shell.refuses("-c", line, GIT_ANNEX_SHELL_DIRECTORY="@/store")
        assert said == "only git commands on one directory are allowed"


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "git-upload-pack '@/bare.git'"],
        ["-c", "git-receive-pack '@/bare.git'"],
        ["git-upload-pack", "@/bare.git"],
        ["-c", "ls"],
        ["-c", "git-annex-shell 'foo' '@/store'"],
    ],
)
def test_limited_means_no_git_commands(shell: Shell, words: list[str]) -> None:
    said = shell.refuses(*words, GIT_ANNEX_SHELL_LIMITED="1")
    assert said == "action blocked by GIT_ANNEX_SHELL_LIMITED"


def test_limited_allows_what_is_its_own(shell: Shell) -> None:
    assert shell.run("configlist", "@/store", GIT_ANNEX_SHELL_LIMITED="1").returncode == 0
    assert shell.run("p2pstdio", "@/store", CLIENT, GIT_ANNEX_SHELL_LIMITED="1").returncode == 0
    assert shell.run("-c", "git-upload-pack '@/bare.git'", stdin="0000", GIT_ANNEX_SHELL_LIMITED="").stdout == "0000"


# The forced command of a key, or of an account ------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["-c", "p2pannex-shell"], ["-c", "git-annex-shell"]])
def test_a_forced_command(shell: Shell, uuid: str, words: list[str]) -> None:
    """sshd runs it instead of what the client wants, directly or through this program as the login shell."""
    done = shell.run(*words, SSH_ORIGINAL_COMMAND="git-annex-shell 'configlist' '@/store'")
    assert done.stdout == f"annex.uuid={uuid}\ncore.gcrypt-id=\n"
    assert shell.run(*words, SSH_ORIGINAL_COMMAND="git-upload-pack '@/bare.git'", stdin="0000").stdout == "0000"
    for line in ("id", "/usr/lib/openssh/sftp-server", "internal-sftp", "", "p2pannex-shell; id"):
        assert shell.run(*words, SSH_ORIGINAL_COMMAND=line).stdout == ""
    assert shell.refuses(*words, SSH_ORIGINAL_COMMAND="p2pannex-shell").startswith("the command is missing")


def test_the_clients_command_is_not_used_beside_another(shell: Shell, uuid: str) -> None:
    done = shell.run("configlist", "@/store", SSH_ORIGINAL_COMMAND="git-annex-shell configlist @/nosuch")
    assert uuid in done.stdout


# Everything else -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "git-upload-pack '@/bare.git'"],
        ["-c", "git upload-pack '@/bare.git'"],
        ["git-upload-pack '@/bare.git'"],
    ],
)
def test_git_commands_go_to_git_shell(shell: Shell, words: list[str]) -> None:
    done = shell.run(*words, stdin="0000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "0000"  # a repository without branches


@pytest.mark.parametrize("line", ["id", "/usr/bin/git-annex-shell 'configlist' '@/store'", "", "rsync --server . x"])
def test_git_shell_refuses_what_it_does_not_know(shell: Shell, line: str) -> None:
    done = shell.run("-c", line)
    assert done.returncode == 128
    assert done.stdout == ""
    assert "unrecognized command" in done.stderr


def test_no_git_shell(shell: Shell, tmp_path: Path) -> None:
    said = shell.refuses("-c", "git-upload-pack '@/bare.git'", PATH=str(tmp_path))
    assert said == "cannot run git-shell: No such file or directory"


def test_help(shell: Shell) -> None:
    done = shell.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "p2pstdio DIR CLIENTUUID" in done.stdout
