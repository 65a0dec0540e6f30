"""Eight clients at once on one repository, half of them of git-annex-shell, half of p2pannex-shell.

Each client is a `Remote` that starts its server a few times anew, and stores and removes content at random. While a
client of git-annex-shell changes a key, no other client changes that key. The reason: git-annex logs a change after it
has made it, and does not exclude other processes in between. So two of its processes that store and remove one key at
the same time may leave a log that contradicts what is stored. Clients of p2pannex-shell do change the same content at
the same time.
"""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio

from p2pannex.git_annex.logs.location_log import LocationLog
from p2pannex.git_annex.logs.names import is_location_log
from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.remote import Remote
from p2pannex.service import AlreadyHave
from p2pannex.testing.samples import fetch, key_of, sample
from tests.compat.annex_environment import AnnexEnvironment
from tests.compat.test_annex_store import Repository

pytestmark = pytest.mark.compat

CLIENTS = 4
"""Of each kind."""

STARTS = 4
CHANGES = 33
"""Of one client between two starts: 1056 in all."""

CONTENTS = {key_of(content): content for content in (sample(1000 + number, number) for number in range(30))}


class Turns:
    """Who is changing what."""

    def __init__(self) -> None:
        self._at_work: dict[Key, list[bool]] = {key: [] for key in CONTENTS}  # True: in peace

    @contextmanager
    def turn(self, chance: random.Random, *, in_peace: bool) -> Iterator[Key]:
        """A key to change: alone if `in_peace`, otherwise together with clients that are not `in_peace` either."""
        free = [key for key, work in self._at_work.items() if not work or not (in_peace or any(work))]
        key = chance.choice(free)
        self._at_work[key].append(in_peace)
        try:
            yield key
        finally:
            self._at_work[key].remove(in_peace)


async def change(remote: Remote, key: Key, chance: random.Random) -> None:
    """Store or remove the content; at times, read it before."""
    if chance.random() < 0.2:
        content = await fetch(remote, key)
        assert content in (None, CONTENTS[key])
    if chance.random() < 0.45:
        assert (await remote.remove(key)).ok
        return
    upload = await remote.put(key)
    if not isinstance(upload, AlreadyHave):
        async with upload:
            rest = memoryview(CONTENTS[key])[upload.offset :]
            await upload.begin(len(rest))
            await upload.send_all(rest)
            await upload.finish(True)


async def be_a_client(program: str, number: int, repository: Repository, turns: Turns) -> None:
    chance = random.Random(f"{program} {number}")
    argv = [program, "p2pstdio", str(repository.path), f"c1c1c1c1-2222-4333-8444-55555555555{number}"]
    dial = partial(open_process_peer, argv, env=repository.environment.variables)
    for _ in range(STARTS):
        async with await Remote.open(dial, repository.uuid, connections=1) as remote:
            for _ in range(CHANGES):
                with turns.turn(chance, in_peace=program == "git-annex-shell") as key:
                    await change(remote, key, chance)


def lines_of(repository: Repository, commit: str, path: str) -> LocationLog:
    done = subprocess.run(
        ["git", "-C", repository.path, "cat-file", "blob", f"{commit}:{path}"], capture_output=True, check=False
    )
    return LocationLog.parse(done.stdout)


def nothing_was_lost(repository: Repository) -> int:
    """That no commit of the branch took back what one before had said. How many changes of logs were looked at."""
    git = partial(repository.environment.run, "git", cwd=repository.path)
    looked_at = 0
    for commits in git("rev-list", "--parents", "git-annex").stdout.splitlines():
        commit, *parents = commits.split()
        for parent in parents:
            for path in git("diff-tree", "-r", "--name-only", parent, commit).stdout.splitlines():
                if not is_location_log(path.encode()):
                    continue
                old, new = lines_of(repository, parent, path), lines_of(repository, commit, path)
                for uuid, line in old.newest.items():
                    assert uuid in new.newest, f"{path}: {commit} has lost {line}"
                    assert new.newest[uuid].time >= line.time, f"{path}: {commit} is older than {parent}"
                looked_at += 1
    return looked_at


async def test_a_thousand_changes(annex_env: AnnexEnvironment) -> None:
    repository = Repository(annex_env, "--bare")
    turns = Turns()
    async with trio.open_nursery() as nursery:
        for program in ("git-annex-shell", "p2pannex-shell"):
            for number in range(CLIENTS):
                nursery.start_soon(be_a_client, program, number, repository, turns)
    repository.nothing_to_complain_of()
    here = {key for key in CONTENTS if repository.object(key).exists()}
    assert 0 < len(here) < len(CONTENTS)
    assert repository.listed() == {str(key) for key in here}
    clone = annex_env.home / "clone"
    annex_env.run("git", "clone", "-q", repository.path, clone)
    annex_env.run("git", "annex", "init", "-q", "clone", cwd=clone)
    assert repository.listed(clone) == {str(key) for key in here}
    assert nothing_was_lost(repository) > STARTS * CLIENTS
    for file in ("index.lock", "othertmp"):
        path = repository.git_dir / "annex" / file
        assert not path.exists() or list(path.iterdir()) == []
