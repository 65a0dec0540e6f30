"""Compares p2pannex-shell with git-annex-shell, over stdio, in one run.

Each figure is measured at both servers in turn, for a number of rounds. The table shows the median of each server and
the median of the rounds' ratios; a ratio above 1 means that p2pannex is faster. p2pannex makes every PUT durable with
fsync and git-annex does not; the comparison includes the time that this takes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attrs import frozen

from p2pannex.child_environment import child_environment
from p2pannex.errors import RemoteError
from p2pannex.keys.key import Key
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.benchmarks.client import BLOCK, RawClient

SMALL_REQUEST = 10_000
CLIENT_UUID = "00000000-0000-0000-0000-00000000beef"


@frozen
class Row:
    """One figure: the medians of both servers, the median ratio, and the goal.

    `goal` is the ratio to reach. If there is a `limit`, it is the goal instead: p2pannex's figure must not be larger.
    """

    name: str
    unit: str
    p2pannex: float
    git_annex: float
    ratio: float
    goal: float
    limit: float | None = None

    @property
    def reached(self) -> bool:
        return self.ratio >= self.goal if self.limit is None else self.p2pannex <= self.limit


@frozen
class Server:
    """How to start one of the servers."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]


def find_git_annex() -> str:
    """The directory that contains git-annex-shell. RemoteError if there is none."""
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    found = shutil.which("git-annex-shell", path=path)
    if found is None:
        raise RemoteError("there is no git-annex to compare with; install it with: pip install git-annex")
    return os.path.dirname(found)


def environment(directory: str) -> dict[str, str]:
    """The environment of both servers, with `directory` as HOME, so that the user's configuration has no effect."""
    return {
        **child_environment(),
        "HOME": directory,
        "PATH": find_git_annex() + os.pathsep + os.environ.get("PATH", ""),
        "GIT_AUTHOR_NAME": "bench",
        "GIT_AUTHOR_EMAIL": "bench@localhost",
        "GIT_COMMITTER_NAME": "bench",
        "GIT_COMMITTER_EMAIL": "bench@localhost",
    }


def make_repository(directory: str, env: dict[str, str]) -> tuple[str, str]:
    """Make a new bare git-annex repository in the directory. Returns its path and its UUID."""
    bare = os.path.join(directory, "bare.git")
    for command in (["git", "init", "-q", "--bare", bare], ["git", "-C", bare, "annex", "init", "bench"]):
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    uuid = subprocess.run(
        ["git", "-C", bare, "config", "annex.uuid"], env=env, check=True, capture_output=True, text=True
    ).stdout.strip()
    return bare, uuid


def our_shell(path: str, uuid: str, env: dict[str, str]) -> Server:
    shell = shutil.which("p2pannex-shell", path=os.path.dirname(sys.executable))
    ours = (shell,) if shell else (sys.executable, "-m", "p2pannex.cli.shell.main")
    return Server("p2pannex", (*ours, "p2pstdio", path, CLIENT_UUID, "--uuid", uuid), env)


def their_shell(path: str, uuid: str, env: dict[str, str]) -> Server:
    return Server("git-annex", ("git-annex-shell", "p2pstdio", path, CLIENT_UUID, "--uuid", uuid), env)


def servers(directory: str) -> tuple[Server, Server]:
    """p2pannex-shell on a new directory store, and git-annex-shell on a new bare repository, on one disk."""
    env = environment(directory)
    store = DirectoryStore.create(os.path.join(directory, "store"))
    bare, uuid = make_repository(directory, env)
    return our_shell(os.fsdecode(store.path), store.uuid, env), their_shell(bare, uuid, env)


def made_key(content: bytes | memoryview, repeat: int = 1) -> Key:
    digest = hashlib.sha256()
    for _ in range(repeat):
        digest.update(content)
    return Key.make("SHA256", digest.hexdigest().encode(), size=len(content) * repeat)


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


class Figures:
    """The figures of one server, one for each round."""

    def __init__(self, server: Server) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.memory = 0
        self._server = server
        self._stored: list[Key] = []

    def measure(self, requests: Callable[[RawClient, list[Key]], dict[str, float]]) -> None:
        """Run `requests` with a new process of the server; it returns how many seconds each took. It gets the keys of
        the content that was stored and not removed yet."""
        os.sync()  # so that data that the other server left in the page cache does not slow this one down
        client = RawClient(self._server.argv, self._server.env)
        try:
            for name, seconds in requests(client, self._stored).items():
                self.seconds.setdefault(name, []).append(seconds)
            self.memory = max(self.memory, client.peak_memory())
        finally:
            client.close()


def small_requests(client: RawClient, stored: list[Key], *, requests: int) -> dict[str, float]:
    """Seconds that one request takes, the median of each kind. The stored content is not removed."""
    contents = [os.urandom(SMALL_REQUEST) for _ in range(requests)]
    keys = [made_key(content) for content in contents]
    stored += keys
    median = statistics.median
    return {
        "start to AUTH-SUCCESS": client.start,
        "PUT 10 kB": median(
            timed(lambda k=k, c=c: client.put(k, memoryview(c)))  # type: ignore[misc]
            for k, c in zip(keys, contents, strict=True)
        ),
        "CHECKPRESENT": median(timed(lambda: client.check_present(keys[0])) for _ in range(20 * requests)),
        "GET 10 kB": median(timed(lambda k=k: client.get(k)) for k in keys),  # type: ignore[misc]
    }


def removals(client: RawClient, stored: list[Key], *, requests: int) -> dict[str, float]:
    """Seconds that one removal takes, the medians: of content that this process has just stored, and of content that
    another process has stored, whose location is in the git-annex branch."""
    contents = [os.urandom(SMALL_REQUEST) for _ in range(requests)]
    just_stored = [made_key(content) for content in contents]
    for key, content in zip(just_stored, contents, strict=True):
        client.put(key, memoryview(content))
    kinds = {"REMOVE": just_stored, "REMOVE, stored before": [stored.pop() for _ in range(requests)]}
    return {
        name: statistics.median(timed(lambda k=k: client.remove(k)) for k in keys)  # type: ignore[misc]
        for name, keys in kinds.items()
    }


def large_requests(client: RawClient, stored: list[Key], *, large: int) -> dict[str, float]:
    """Seconds that a PUT and a GET of large content take."""
    content = memoryview(os.urandom(BLOCK))
    repeat = large // BLOCK
    key = made_key(content, repeat)
    # The better of two, for both servers: the first may have to wait until the system has free memory.
    puts, gets = [], []
    for _ in range(2):
        puts.append(timed(lambda: client.put(key, content, repeat)))
        gets.append(timed(lambda: client.get(key)))
        client.remove(key)
    return {"PUT large": min(puts), "GET large": min(gets)}


GOALS = {
    # how many times as fast as git-annex-shell
    "start to AUTH-SUCCESS": 1 / 3,
    "CHECKPRESENT": 1.0,
    "GET 10 kB": 6.0,
    "GET large": 2.0,
    "PUT 10 kB": 4.0,
    "PUT large": 2.0,
    "REMOVE": 3.0,
    "REMOVE, stored before": 3.0,
}


@frozen
class Comparison:
    """The table, and the peak resident memory of both servers in bytes; 0 if they are not separate processes.

    `large` is the size of large content in bytes. `columns` names the two figures of a row.
    """

    rows: tuple[Row, ...]
    large: int
    rounds: int
    memory_p2pannex: int
    memory_git_annex: int
    columns: tuple[str, str] = ("p2pannex", "git-annex")


def run_stdio(
    *,
    rounds: int = 5,
    large: int = 256 << 20,
    requests: int = 50,
    directory: str | None = None,
    on_round: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run the comparison. It blocks.

    `large` is the size of large content in bytes. Work is done in a temporary directory in `directory`.
    """
    with tempfile.TemporaryDirectory(dir=directory) as work:
        return compare(servers(work), GOALS, rounds=rounds, large=large, requests=requests, on_round=on_round)


def compare(
    pair: tuple[Server, Server],
    goals: dict[str, float],
    *,
    rounds: int,
    large: int,
    requests: int,
    on_round: Callable[[str], None],
) -> Comparison:
    """Measure p2pannex's and git-annex's server in turn. The result has the figures that `goals` names."""
    ours, theirs = measure(pair, rounds=rounds, large=large, requests=requests, on_round=on_round)
    return Comparison(tuple(rows(ours, theirs, goals, large)), large, rounds, ours.memory, theirs.memory)


@frozen
class Measured:
    """The figures of one server, each a list of seconds with one entry for each round; its peak memory in bytes."""

    seconds: dict[str, list[float]]
    memory: int


def measure(
    servers: Sequence[Server],
    *,
    rounds: int,
    large: int,
    requests: int,
    on_round: Callable[[str], None],
) -> list[Measured]:
    """Measure the servers in turn, round after round. Each kind of request has rounds of its own, small ones first.

    Large content slows down the requests after it: for some time after much data was written and synced, an fsync takes
    several times as long. A small PUT has two of them at p2pannex, and none at git-annex. Removals slow down what comes
    after them too: ext4 without a journal checks each inode that was removed in the last five minutes before it makes a
    new one.
    """
    figures = [Figures(server) for server in servers]
    kinds = {
        "small requests": partial(small_requests, requests=requests),
        "removals": partial(removals, requests=requests),
        "large content": partial(large_requests, large=large),
    }
    for name, kind in kinds.items():
        for number in range(rounds + 1):
            on_round(f"{name}, round {number} of {rounds}")
            for each in figures:
                each.measure(kind)
    # The first round of each kind is a warm-up.
    return [Measured({name: seconds[1:] for name, seconds in each.seconds.items()}, each.memory) for each in figures]


def rows(ours: Measured, theirs: Measured, goals: dict[str, float], large: int, suffix: str = "") -> Iterator[Row]:
    """The rows that compare p2pannex's figures with git-annex's, for the figures that `goals` names."""
    for name, goal in goals.items():
        our_seconds, their_seconds = ours.seconds[name], theirs.seconds[name]
        ratio = statistics.median(b / a for a, b in zip(our_seconds, their_seconds, strict=True))
        our_median, their_median = statistics.median(our_seconds), statistics.median(their_seconds)
        if "large" in name:
            yield Row(name + suffix, "GB/s", large / our_median / 1e9, large / their_median / 1e9, ratio, goal)
        else:
            yield Row(name + suffix, "µs", our_median * 1e6, their_median * 1e6, ratio, goal)
