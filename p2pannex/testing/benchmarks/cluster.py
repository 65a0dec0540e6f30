"""Compares p2pannex-shell with git-annex-shell as a gateway to three nodes on this disk, in one run.

git-annex serves a gateway repository, made by ``git annex initcluster`` and ``updatecluster``; its nodes are three
repositories that it reaches by their paths. p2pannex serves two gateways: a gateway directory with three directory
stores, and a gateway repository like git-annex's, which is the same work.

The ratios and the remarks on fsync are those of `stdio`, with three times as many fsyncs. `annex.jobs` makes
git-annex's gateway a little faster; so small requests are also compared with a second repository of git-annex, which
has it set to the number of nodes.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable

from p2pannex.gateways.directory import cluster as gateway_directory
from p2pannex.gateways.directory.cluster import GatewayConfig, NodeConfig
from p2pannex.stores.directory import DirectoryStore
from p2pannex.testing.benchmarks.stdio import Comparison, Server, environment, measure, our_shell, rows, their_shell

NODES = ("one", "two", "three")

GOALS = {
    "CHECKPRESENT": 1.0,
    "GET 10 kB": 5.0,
    "GET large": 1.0,
    "PUT 10 kB": 4.0,
    "PUT large": 2.0,
    "REMOVE": 4.0,
    "REMOVE, stored before": 4.0,
}
"""The goals: how many times as fast as git-annex's gateway."""

JOBS_GOALS = {name: GOALS[name] * 2 / 3 for name in ("PUT 10 kB", "REMOVE")}
"""The same goals, compared with git-annex's gateway with annex.jobs, which takes two thirds of the time."""


def run_cluster(
    *,
    rounds: int = 5,
    large: int = 1 << 30,
    requests: int = 30,
    directory: str | None = None,
    on_round: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run the comparison. It blocks.

    `large` is the size of large content in bytes. Work is done in a temporary directory in `directory`.
    """
    with tempfile.TemporaryDirectory(dir=directory) as work:
        env = environment(work)
        servers = (
            _directories(work, env),
            our_shell(*_git_annex(work, "same", env), env),
            their_shell(*_git_annex(work, "theirs", env), env),
            their_shell(*_git_annex(work, "jobs", env, jobs=len(NODES)), env),
        )
        ours, same, theirs, jobs = measure(servers, rounds=rounds, large=large, requests=requests, on_round=on_round)
    table = [
        *rows(ours, theirs, GOALS, large),
        *rows(same, theirs, GOALS, large, ", same gateway"),
        *rows(ours, jobs, JOBS_GOALS, large, ", annex.jobs"),
        *rows(same, jobs, JOBS_GOALS, large, ", both"),
    ]
    return Comparison(tuple(table), large, rounds, max(ours.memory, same.memory), max(theirs.memory, jobs.memory))


def _git(env: dict[str, str], directory: str, *words: str) -> str:
    done = subprocess.run(["git", "-C", directory, *words], env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _annex(work: str, name: str, env: dict[str, str]) -> str:
    """Make a new git-annex repository. Returns its path."""
    path = os.path.join(work, name)
    _git(env, work, "init", "-q", "--bare", path)
    _git(env, path, "annex", "init", name)
    return path


def _directories(work: str, env: dict[str, str]) -> Server:
    path = os.path.join(work, "directories")
    config = gateway_directory.create(path, "directories", trusted=False)
    stores = {name: DirectoryStore.create(os.path.join(work, f"store-{name}")) for name in NODES}
    nodes = {name: NodeConfig(store.uuid, os.fsdecode(store.path)) for name, store in stores.items()}
    GatewayConfig(config.uuid, config.gateway, config.cluster, nodes).save(path)
    return our_shell(path, config.uuid, {**env, "GIT_ANNEX_SHELL_DIRECTORY": path})


def _git_annex(work: str, name: str, env: dict[str, str], *, jobs: int | None = None) -> tuple[str, str]:
    """Make a git-annex gateway repository with three nodes of its own. Returns its path and the cluster's UUID."""
    path = _annex(work, name, env)
    _git(env, path, "annex", "initcluster", "bench")
    for node in NODES:
        _git(env, path, "remote", "add", node, _annex(work, f"{name}-{node}", env))
        _git(env, path, "config", f"remote.{node}.annex-cluster-node", "bench")
    _git(env, path, "fetch", "-q", "--all")
    _git(env, path, "annex", "updatecluster")
    if jobs is not None:
        _git(env, path, "config", "annex.jobs", str(jobs))
    return path, _git(env, path, "config", "annex.cluster.bench")
