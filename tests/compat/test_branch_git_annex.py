"""The git-annex branch, ours and git-annex's hands on it in turn and at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.keys.key import Key
from tests.compat.annex_environment import AnnexEnvironment

pytestmark = pytest.mark.compat

UUIDS = [f"{n:08x}-1111-4111-8111-111111111111" for n in range(400)]


@pytest.fixture
def annex(annex_env: AnnexEnvironment) -> Path:
    return annex_env.repository("annex", "--bare")


def whereis(env: AnnexEnvironment, annex: Path, key: Key) -> set[str]:
    done = env.run("git", "annex", "whereis", "--json", f"--key={key}", cwd=annex, check=False)
    answer = json.loads(done.stdout)
    return {place["uuid"] for place in answer["whereis"] + answer["untrusted"]}


def check_clean(env: AnnexEnvironment, annex: Path) -> None:
    """Nothing is left for git, git-annex or us to do or to complain of."""
    env.run("git", "annex", "merge", cwd=annex)
    assert os.listdir(annex / "annex/journal") == []
    assert not list((annex / "annex").glob("**/p2pannex-*"))
    assert not (annex / "annex/index.lock").exists()
    fsck = env.run("git", "fsck", "--strict", cwd=annex)
    assert not [
        line for line in (fsck.stdout + fsck.stderr).splitlines() if "dangling" not in line and "notice" not in line
    ]
    head = env.run("git", "rev-parse", "git-annex", cwd=annex).stdout
    assert (annex / "annex/index.lck").read_text() == head
    staged = env.run(
        "git",
        "diff-index",
        "--cached",
        "git-annex",
        cwd=annex,
        variables={"GIT_INDEX_FILE": str(annex / "annex/index")},
    )
    assert staged.stdout == ""


async def test_git_annex_reads_what_we_log(annex_env: AnnexEnvironment, annex: Path) -> None:
    key = Key("SHA256E-s3--abc_d.x_y")
    uuid = annex_env.uuid(annex)
    async with Branch(BlockingBranch(annex)) as branch:
        await branch.log_location(key, uuid, True)
        await branch.log_location(key, UUIDS[0], True)
        assert whereis(annex_env, annex, key) == {uuid, UUIDS[0]}, "from the journal, or after its commit"
        await branch.commit()
        await branch.log_location(key, UUIDS[0], False)
        await branch.commit()
        assert whereis(annex_env, annex, key) == {uuid}
        shown = annex_env.run("git", "show", "git-annex:uuid.log", cwd=annex).stdout
        assert await branch.read(b"uuid.log") == shown.encode()
    check_clean(annex_env, annex)
    log = annex_env.run("git", "annex", "log", f"--key={key}", "--raw-date", cwd=annex).stdout
    assert log.count("\n+ ") + log.startswith("+ ") == 2
    assert log.count("\n- ") + log.startswith("- ") == 1


def test_of_lines_as_new_git_annex_counts_the_first(annex_env: AnnexEnvironment, annex: Path) -> None:
    key = Key("SHA256--tie")
    text = b"5s 1 %b\n5.0s 0 %b\n5s 0 %b\n5s 1 %b\n" % (*[UUIDS[0].encode()] * 2, *[UUIDS[1].encode()] * 2)
    with contextlib.closing(BlockingBranch(annex)) as branch:
        branch.change(location_log_path(key), lambda _: text)
        assert branch.locations(key) == whereis(annex_env, annex, key) == {UUIDS[0]}


def test_the_journal_of_the_one_is_committed_by_the_other(annex_env: AnnexEnvironment, annex: Path) -> None:
    key = Key("SHA256--journal")
    log = location_log_path(key).decode()
    with contextlib.closing(BlockingBranch(annex)) as branch:
        branch.log_location(key, UUIDS[0], True)
        annex_env.run("git", "annex", "merge", cwd=annex)
        assert os.listdir(annex / "annex/journal") == []
        assert UUIDS[0] in annex_env.run("git", "show", f"git-annex:{log}", cwd=annex).stdout
        annex_env.run(
            "git", "-c", "annex.alwayscommit=false", "annex", "setpresentkey", str(key), UUIDS[1], "1", cwd=annex
        )
        assert os.listdir(annex / "annex/journal") != []
        assert branch.locations(key) == set(UUIDS[:2])
        assert branch.commit()
        assert os.listdir(annex / "annex/journal") == []
        assert branch.locations(key) == set(UUIDS[:2])
    assert whereis(annex_env, annex, key) == set(UUIDS[:2])
    check_clean(annex_env, annex)


def test_git_annex_waits_for_our_lock(annex_env: AnnexEnvironment, annex: Path) -> None:
    key = Key("SHA256--lock")
    command = ["git", "annex", "setpresentkey", str(key), UUIDS[0], "1"]
    with contextlib.closing(BlockingBranch(annex)) as branch:
        with branch.journal.lock():
            process = subprocess.Popen(command, cwd=annex, env=annex_env.variables, stdout=subprocess.DEVNULL)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            assert branch.locations(key) == set()
        assert process.wait(60) == 0
        assert branch.locations(key) == {UUIDS[0]}


def test_what_git_annex_merged_from_another_repository(annex_env: AnnexEnvironment, annex: Path) -> None:
    key = Key("SHA256--merged")
    other = annex_env.repository("other", "--bare")
    annex_env.run("git", "annex", "setpresentkey", str(key), UUIDS[1], "1", cwd=other)
    annex_env.run("git", "annex", "merge", cwd=other)
    with contextlib.closing(BlockingBranch(annex)) as branch:
        branch.log_location(key, UUIDS[0], True)
        annex_env.run("git", "fetch", "-q", other, "git-annex:refs/remotes/other/git-annex", cwd=annex)
        annex_env.run("git", "annex", "merge", cwd=annex)
        assert branch.locations(key) == set(UUIDS[:2])
        # and pushed over the branch while we have a journal that does not know of it
        annex_env.run("git", "fetch", "-q", annex, "git-annex:refs/remotes/annex/git-annex", cwd=other)
        annex_env.run("git", "annex", "setpresentkey", str(key), UUIDS[2], "1", cwd=other)
        annex_env.run("git", "annex", "merge", cwd=other)
        branch.log_location(key, UUIDS[3], True)
        annex_env.run("git", "push", "-q", annex, "git-annex:git-annex", cwd=other)
        assert branch.commit()
        assert branch.locations(key) == set(UUIDS[:4])
    assert whereis(annex_env, annex, key) == set(UUIDS[:4])
    check_clean(annex_env, annex)


async def test_both_at_the_same_time(annex_env: AnnexEnvironment, annex: Path) -> None:
    """Two hundred changes by git-annex and as many by us, to logs that both change, with commits by both."""
    keys = [Key(f"SHA256--{n}") for n in range(10)]
    theirs, ours = UUIDS[:200], UUIDS[200:]
    commits = 0

    async def git_annex() -> None:
        for start in range(0, 200, 20):
            lines = "".join([f"{keys[n % 10]} {theirs[n]} 1\n" for n in range(start, start + 20)])
            await trio.run_process(
                ["git", "annex", "setpresentkey", "--batch"],
                stdin=lines.encode(),
                cwd=annex,
                env=annex_env.variables,
                capture_stdout=True,
            )
            await trio.run_process(["git", "annex", "merge"], cwd=annex, env=annex_env.variables, capture_stdout=True)

    async with Branch(BlockingBranch(annex)) as branch:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(git_annex)
            for n in range(200):
                await branch.log_location(keys[n % 10], ours[n], True)
                if n % 4 == 0:
                    commits += await branch.commit()
                await trio.sleep(0.005)
        await branch.commit()
        for n, key in enumerate(keys):
            assert await branch.locations(key) == {*theirs[n::10], *ours[n::10]}
    assert commits > 10
    assert whereis(annex_env, annex, keys[3]) == {*theirs[3::10], *ours[3::10]}
    check_clean(annex_env, annex)


WRITER = """
import sys
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.keys.key import Key
branch = BlockingBranch(sys.argv[1])
for n in range(1000):
    branch.log_location(Key(f"SHA256--{n % 5}"), f"{sys.argv[2]}-{n}", True)
    print(n, flush=True)
    branch.commit()
"""


def test_killed_at_any_moment(annex_env: AnnexEnvironment, annex: Path) -> None:
    """What was logged is there, whenever the writer was killed, and both go on."""
    delays = random.Random(1)
    logged: dict[Key, set[str]] = {Key(f"SHA256--{n}"): set() for n in range(5)}
    for number in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, annex, str(number)], stdout=subprocess.PIPE, env=annex_env.variables
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(delays.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        said = first + process.communicate()[0]
        for n in map(int, said.split()):
            logged[Key(f"SHA256--{n % 5}")].add(f"{number}-{n}")
        if number % 3 == 0:
            annex_env.run("git", "annex", "merge", cwd=annex)
    with contextlib.closing(BlockingBranch(annex)) as branch:
        for commit in range(2):
            for key, uuids in logged.items():
                assert uuids <= LocationLog.parse(branch.read(location_log_path(key))).present()
            if not commit:
                branch.log_location(Key("SHA256--last"), "x", True)
                assert branch.commit()
    check_clean(annex_env, annex)
