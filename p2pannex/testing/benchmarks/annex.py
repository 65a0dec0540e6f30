"""Compares p2pannex-shell with git-annex-shell on one git-annex repository, and look-ups in a large git-annex branch.

The ratios and the remarks on fsync are those of `stdio`. Both servers change the same repository, in turn. A look-up is
one call of `Branch.locations`, compared with one key of ``git annex whereis --batch-keys``, whose output contains more.
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

import trio
from attrs import evolve

from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.git_annex.branch.branch import Branch
from p2pannex.git_annex.logs.names import location_log_path
from p2pannex.keys.key import Key
from p2pannex.testing.benchmarks import stdio
from p2pannex.testing.benchmarks.client import RawClient
from p2pannex.testing.benchmarks.stdio import (
    Comparison,
    Figures,
    Row,
    Server,
    compare,
    environment,
    made_key,
    make_repository,
    our_shell,
    their_shell,
    timed,
)

GOALS = {**stdio.GOALS, "PUT 10 kB": 3.0}

LIMIT = 200.0
"""The goal for a look-up, in microseconds."""

LOOK_UPS = 200
"""Look-ups in one round."""


def run_annex(
    *,
    rounds: int = 5,
    large: int = 256 << 20,
    requests: int = 50,
    keys: int = 100_000,
    gigabyte: bool = False,
    directory: str | None = None,
    on_round: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run the comparison. It blocks.

    `large` is the size of large content in bytes, `keys` the number of keys in the large branch. With `gigabyte`, the
    PUT of a gigabyte is measured too. Work is done in a temporary directory in `directory`.
    """
    with tempfile.TemporaryDirectory(dir=directory) as work:
        env = environment(work)
        bare, uuid = make_repository(work, env)
        pair = (our_shell(bare, uuid, env), their_shell(bare, uuid, env))
        result = compare(pair, GOALS, rounds=rounds, large=large, requests=requests, on_round=on_round)
        if gigabyte:
            result = evolve(result, rows=(*result.rows, _compare_puts_of_a_gigabyte(pair, rounds)))
        _fill(bare, uuid, keys, env)
        return evolve(result, rows=(*result.rows, _compare_look_ups(bare, keys, rounds, env)))


def _compare_puts_of_a_gigabyte(pair: tuple[Server, Server], rounds: int) -> Row:
    content = memoryview(os.urandom(10**6))
    key = made_key(content, 1000)

    def puts(client: RawClient, stored: list[Key]) -> dict[str, float]:
        taken = []
        for _ in range(2):  # the better of two, as in `stdio`
            taken.append(timed(lambda: client.put(key, content, 1000)))
            client.remove(key)
        return {"PUT": min(taken)}

    figures = [Figures(server) for server in pair]
    for _ in range(rounds):
        for each in figures:
            each.measure(puts)
    columns = [each.seconds["PUT"] for each in figures]
    ratio = statistics.median(theirs / ours for ours, theirs in zip(*columns, strict=True))
    ours, theirs = (statistics.median(column) for column in columns)
    return Row("PUT 1 GB", "GB/s", 1 / ours, 1 / theirs, ratio, GOALS["PUT large"])


def _key(number: int) -> Key:
    return Key.make("SHA256", hashlib.sha256(b"%d" % number).hexdigest().encode(), size=number)


def _fill(bare: str, uuid: str, keys: int, env: dict[str, str]) -> None:
    """Add `keys` location logs to the git-annex branch."""
    with subprocess.Popen(
        ["git", "-C", bare, "fast-import", "--quiet"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(
            b"commit refs/heads/git-annex\ncommitter bench <bench@localhost> 1700000000 +0000\ndata 0\n"
            b"from refs/heads/git-annex^0\n"
        )
        line = b"1700000000s 1 %b\n" % uuid.encode()
        for number in range(keys):
            path = location_log_path(_key(number))
            process.stdin.write(b"M 100644 inline %b\ndata %d\n%b\n" % (path, len(line), line))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "git fast-import")


def _compare_look_ups(bare: str, keys: int, rounds: int, env: dict[str, str]) -> Row:
    chance = random.Random(1)  # noqa: S311 - not a secret
    rows = [[_key(chance.randrange(keys)) for _ in range(LOOK_UPS)] for _ in range(rounds + 1)]
    ours, theirs = trio.run(_our_look_ups, bare, rows), list(_their_look_ups(bare, rows, env))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    our_median, their_median = statistics.median(ours) * 1e6, statistics.median(theirs) * 1e6
    return Row("location look-up", "µs", our_median, their_median, ratio, 1.0, LIMIT)


async def _our_look_ups(bare: str, rows: list[list[Key]]) -> list[float]:
    """The median of each row except the first, which is a warm-up."""
    medians = []
    async with Branch(BlockingBranch(bare)) as branch:
        for keys in rows:
            seconds = []
            for key in keys:
                started = time.perf_counter()
                found = await branch.locations(key)
                seconds.append(time.perf_counter() - started)
                assert found, f"the branch has lost {key}"
            medians.append(statistics.median(seconds))
    return medians[1:]


def _their_look_ups(bare: str, rows: list[list[Key]], env: dict[str, str]) -> Iterator[float]:
    with subprocess.Popen(
        ["git", "-C", bare, "annex", "whereis", "--batch-keys", "--json"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, keys in enumerate(rows):
            seconds = []
            for key in keys:
                started = time.perf_counter()
                process.stdin.write(key.raw + b"\n")
                reply = b""
                while not reply.endswith(b"\n"):
                    reply += os.read(process.stdout.fileno(), 1 << 16)
                seconds.append(time.perf_counter() - started)
            if number:
                yield statistics.median(seconds)
        process.stdin.close()
