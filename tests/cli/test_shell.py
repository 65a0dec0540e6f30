"""p2pannex-shell as ssh and git-annex run it: its command line, its restrictions, what it says and when."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import p2pannex
from p2pannex.cli.shell.command_line import CommandRefused, resolve, split
from p2pannex.stores.directory import DirectoryStore

CLIENT = "11111111-2222-3333-4444-555555555555"
PROGRAM = "import sys; from p2pannex.cli.shell.main import main; sys.exit(main())"
KEY = "SHA256-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of the account, with a store, a git repository and other things in it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "nonbare")], check=True)
    DirectoryStore.create(tmp_path / "store")
    DirectoryStore.create(tmp_path / "it's a store")
    return tmp_path


@pytest.fixture
def uuid(home: Path) -> str:
    return DirectoryStore(home / "store").uuid


class Shell:
    """Runs the program for the account whose home is `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.path.dirname(os.path.dirname(p2pannex.__file__)),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *(word.replace("@", str(self.home)) for word in words)]

    def run(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {name: value.replace("@", str(self.home)) for name, value in environment.items()}
        return subprocess.run(
            self.command(*words),
            env=self.environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.home / "elsewhere",
            timeout=60,
        )

    def refuses(self, *words: str, **environment: str) -> str:
        """The one line that it says when it does nothing, without the home directory's name in it."""
        done = self.run(*words, **environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("p2pannex-shell: ")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("p2pannex-shell: ").strip().replace(str(self.home), "@")


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)


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
        (["@/file"], "@/file is no p2pannex store; make one with: p2pannex init @/file"),
        (["@/empty"], "@/empty is no p2pannex store; make one with: p2pannex init @/empty"),
        (["@/bare.git", "--uuid", "x"], "expected repository UUID x but found uninitialized repository"),
        ([""], "@ is no p2pannex store; make one with: p2pannex init @"),
        (["~"], "@ is no p2pannex store; make one with: p2pannex init @"),
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


# p2pstdio --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["p2pstdio", "@/store", CLIENT],
        ["p2pstdio", "@/store", CLIENT, "--uuid", "UUID"],
        ["p2pstdio", "@/store", CLIENT, "--uuid=UUID"],
        ["p2pstdio", "@/store", "--uuid", "UUID", CLIENT],
        ["p2pstdio", "@/store", "--debug", CLIENT, "--uuid", "UUID"],
        ["p2pstdio", "@/store", CLIENT, "--uuid", "UUID", "--", "remoteuuid=zz", "--"],
        ["p2pstdio", "@/store", "not a uuid"],
        ["p2pstdio", "@/store", ""],
        ["-c", f"git-annex-shell 'p2pstdio' '@/store' '{CLIENT}' --uuid UUID"],
        ["-c", f"git-annex-shell 'p2pstdio' '/~/store' '--debug' '{CLIENT}' --uuid UUID"],
    ],
)
def test_p2pstdio(shell: Shell, uuid: str, words: list[str]) -> None:
    done = shell.run(*(word.replace("UUID", uuid) for word in words), stdin=f"VERSION 4\nCHECKPRESENT {KEY}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 4\nFAILURE\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["@/store"], "missing UUID parameter"),
        (["@/store", "--uuid", "UUID"], "missing UUID parameter"),
        (["@/store", CLIENT, "extra"], "too many parameters"),
        (["@/store", CLIENT, "--uuid"], "--uuid needs a UUID"),
        (["@/store", CLIENT, "--uuid", "xyz"], "expected repository UUID xyz but found UUID UUID"),
        (["@/store", CLIENT, "--uuid", ""], "expected repository UUID but found UUID UUID"),
        (["@/store", "--foo", CLIENT], "invalid option --foo"),
        (["@/nosuch", CLIENT], "there is no @/nosuch"),
        ([], "p2pstdio needs a directory"),
    ],
)
def test_p2pstdio_that_cannot_be(shell: Shell, uuid: str, words: list[str], problem: str) -> None:
    said = shell.refuses("p2pstdio", *(uuid if word == "UUID" else word for word in words))
    assert said == problem.replace("found UUID UUID", f"found UUID {uuid}")


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("name", ["store", "bare.git"])
def test_the_client_is_answered_before_anything_is_loaded(shell: Shell, name: str, login: bool) -> None:
    for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
        subprocess.run(["git", "-C", str(shell.home / "bare.git"), "config", setting, value], check=True)
    words = ["p2pstdio", f"@/{name}", CLIENT]
    program = """
import os, sys
before, write = set(sys.modules), os.write
def watched(descriptor, data):
    if data.startswith(b"AUTH-SUCCESS"):
        write(2, " ".join(sorted(set(sys.modules) - before)).encode() + b"\\n")
    return write(descriptor, data)
os.write = watched
from p2pannex.cli.shell.main import main
sys.exit(main())
"""
    command = shell.command(*(["-c", " ".join(["git-annex-shell", *words])] if login else words))
    command[2] = program
    done = subprocess.run(
        command, env=shell.environment, input="VERSION 1\n", capture_output=True, text=True, cwd=shell.home
    )
    assert done.stdout.endswith("VERSION 1\n")
    loaded = set(done.stderr.split()) - {"__future__"}
    assert loaded == {
        "p2pannex",
        "p2pannex.cli",
        "p2pannex.cli.shell",
        "p2pannex.cli.shell.main",
        "p2pannex.cli.shell.command_line",
        "p2pannex.stores",
        "p2pannex.stores.directory_config",
        "p2pannex.system",
        "p2pannex.system.stdio",
        *(
            ["p2pannex.git_annex", "p2pannex.git_annex.config", "p2pannex.git_annex.values"]
            if name == "bare.git"
            else []
        ),
    }


def test_nothing_else_gets_between_the_messages(shell: Shell, uuid: str) -> None:
    command = shell.command("p2pstdio", "@/store", CLIENT)
    command[2] = "import atexit; atexit.register(print, 'a stray line'); " + PROGRAM
    done = subprocess.run(command, env=shell.environment, input="VERSION 1\n", capture_output=True, text=True)
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 1\n"
    assert done.stderr == "a stray line\n"


@pytest.mark.parametrize(
    ("environment", "put_answer", "remove_answer"),
    [
        ({}, "PUT-FROM 0\nSUCCESS", "SUCCESS"),
        ({"GIT_ANNEX_SHELL_READONLY": "", "GIT_ANNEX_SHELL_APPENDONLY": ""}, "PUT-FROM 0\nSUCCESS", "SUCCESS"),
        (
            {"GIT_ANNEX_SHELL_APPENDONLY": "1"},
            "PUT-FROM 0\nSUCCESS",
            "ERROR this repository is append-only; removal denied",
        ),
        (
            {"GIT_ANNEX_SHELL_READONLY": "0"},  # set is set
            "ERROR this repository is read-only; write access denied",
            "ERROR this repository is read-only; write access denied",
        ),
        (
            {"GIT_ANNEX_SHELL_READONLY": "1", "GIT_ANNEX_SHELL_APPENDONLY": "1"},
            "ERROR this repository is read-only; write access denied",
            "ERROR this repository is read-only; write access denied",
        ),
    ],
)
def test_access_modes(
    shell: Shell, uuid: str, environment: dict[str, str], put_answer: str, remove_answer: str
) -> None:
    body = "" if put_answer.startswith("ERROR") else "DATA 5\nhelloVALID\n"
    stdin = f"VERSION 1\nPUT  {KEY}\n{body}REMOVE {KEY}\n"
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=stdin, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"AUTH-SUCCESS {uuid}\nVERSION 1\n{put_answer}\n{remove_answer}\n"


def test_a_client_that_leaves_in_the_middle(shell: Shell) -> None:
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin=f"VERSION 1\nPUT  {KEY}\nDATA 5\nhel")
    assert done.returncode == 1
    assert done.stdout.endswith("PUT-FROM 0\n")
    assert done.stderr.startswith("p2pannex-shell: ")
    assert done.stderr.count("\n") == 1
    assert shell.run("p2pstdio", "@/store", CLIENT, stdin=f"PUT  {KEY}\n").stdout.endswith("PUT-FROM 3\n")


def talk(shell: Shell) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        shell.command("p2pstdio", "@/store", CLIENT),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_signals_end_it_quietly(shell: Shell, number: signal.Signals, status: int) -> None:
    with talk(shell) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"VERSION 1\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"AUTH-SUCCESS")
        assert process.stdout.readline() == b"VERSION 1\n"
        process.send_signal(number)
        assert process.wait(60) == status
        assert process.stderr.read() == b""


def test_a_client_that_no_longer_listens(shell: Shell) -> None:
    with talk(shell) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"AUTH-SUCCESS")
        process.stdout.close()
        process.stdin.write(b"VERSION 1\nVERSION 1\n")
        process.stdin.flush()
        assert process.wait(60) == 1
        assert process.stderr.read() == b"p2pannex-shell: the connection broke: [Errno 32] Broken pipe\n"


def test_a_store_that_breaks_after_the_greeting(shell: Shell, home: Path, uuid: str) -> None:
    (home / "store/p2pannex.toml").write_text(f'uuid = "{uuid}"\ndisk_reserve = "much"\n')
    done = shell.run("p2pstdio", "@/store", CLIENT, stdin="VERSION 1\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"p2pannex-shell: cannot use {home}/store/p2pannex.toml: disk_reserve is a number of bytes\n"
    )


def test_a_traceback_is_for_those_who_ask_for_it(shell: Shell, uuid: str) -> None:
    command = shell.command("p2pstdio", "@/store", CLIENT)
    command[2] = "import sys; sys.modules['p2pannex.cli.shell.session'] = None; " + PROGRAM
    done = subprocess.run(command, env=shell.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "P2PANNEX_DEBUG=1" in done.stderr
    environment = shell.environment | {"P2PANNEX_DEBUG": "1"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "Traceback" in done.stderr


# The other commands ----------------------------------------------------------------------------------------------


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
    assert shell.run("inannex", stored, KEY).returncode == 0


def commit(repository: Path, ref: str, message: str) -> str:
    """A new commit at the ref; its name."""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
        command = ["git", "-C", str(repository), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, input="").stdout.strip()

    made = git("commit-tree", "-m", message, git("hash-object", "-t", "tree", "-w", "--stdin"))
    git("update-ref", ref, made)
    return made


def test_notifychanges(shell: Shell, home: Path) -> None:
    repository = home / "bare.git"
    for setting, value in (("annex.uuid", CLIENT), ("annex.version", "10")):
        subprocess.run(["git", "-C", str(repository), "config", setting, value], check=True)
    first = commit(repository, "refs/heads/main", "first")
    with subprocess.Popen(
        shell.command("notifychanges", "@/bare.git"),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "READY\n"
        assert process.stdout.readline() == f"CHANGED {first}\n"
        process.stdin.write("what it says has no meaning\n")
        process.stdin.flush()
        second = commit(repository, "refs/heads/synced/main", "second")
        assert process.stdout.readline() == f"CHANGED {second}\n"
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("name", ["bare.git", "nonbare"])
def test_a_git_repository_and_no_more(shell: Shell, name: str) -> None:
    for fields in ([], ["--"], ["--", "autoinit=0", "--"], ["--", "other=1"]):
        done = shell.run("configlist", f"@/{name}", *fields)
        assert (done.returncode, done.stdout, done.stderr) == (0, "annex.uuid=\ncore.gcrypt-id=\n", "")
    said = shell.refuses("p2pstdio", f"@/{name}", CLIENT)
    assert said == f"@/{name} has no annex.uuid; make it a git-annex repository with: git annex init"


def without_git_annex(home: Path) -> str:
    """A PATH with git, and without git-annex."""
    programs = home / "programs"
    programs.mkdir()
    git = shutil.which("git")
    assert git is not None
    (programs / "git").symlink_to(git)
    return str(programs)


def test_initialisation_without_git_annex(shell: Shell, home: Path) -> None:
    path = without_git_annex(home)
    wanted = ("configlist", "@/bare.git", "--", "autoinit=1", "--")
    problem = "@/bare.git has no annex.uuid, and git-annex, which would initialise it, is not installed here"
    assert shell.refuses(*wanted, PATH=path) == problem
    assert shell.refuses(*wanted, GIT_ANNEX_SHELL_READONLY="1") == "action blocked by GIT_ANNEX_SHELL_READONLY"
    assert shell.run("configlist", "@/bare.git", PATH=path).returncode == 0
    commit(home / "bare.git", "refs/heads/git-annex", "branch created")
    assert shell.refuses("configlist", "@/bare.git", PATH=path) == problem


def test_an_owner_who_wants_no_initialisation(shell: Shell, home: Path) -> None:
    subprocess.run(["git", "-C", str(home / "bare.git"), "config", "annex.autoinit", "false"], check=True)
    commit(home / "bare.git", "refs/heads/git-annex", "branch created")
    done = shell.run("configlist", "@/bare.git", "--", "autoinit=1", "--")
    assert (done.returncode, done.stdout, done.stderr) == (0, "annex.uuid=\ncore.gcrypt-id=\n", "")


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


def test_help(shell: Shell) -> None:
    done = shell.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "p2pstdio DIR CLIENTUUID" in done.stdout


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
