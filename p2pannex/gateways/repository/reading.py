"""Reads the rules of a gateway repository for the first reply of p2pannex-shell, before anything else is loaded.

A client waits for this reply. So this module imports neither trio nor anything else that loads slowly, and reads the
branch with plain git commands.
"""

from __future__ import annotations

import os

from p2pannex.gateways.repository.rules import Route, Rules
from p2pannex.git_annex.config import AnnexConfig, NotAnAnnex, TooMuchOutput, git
from p2pannex.git_annex.logs.cluster_log import parse_cluster_log
from p2pannex.git_annex.logs.proxy_log import parse_proxy_log


class Served:
    """What `client` requested and may use: the repository at the end of `route`, or the cluster `uuid` without one."""

    def __init__(self, config: AnnexConfig, uuid: str, route: Route | None, client: str | None) -> None:
        self.config = config
        self.uuid = uuid
        self.route = route
        self.client = client


def read_served(config: AnnexConfig, uuid: str, client: str | None = None) -> Served:
    """What is served to `client` as `uuid`, which is not the repository's own. NotServed if `client` may not use it.
    NotAnAnnex if git cannot be run, or one of the logs is too large."""
    rules = read_rules(config, client)
    return Served(config, uuid, None if rules.is_cluster(uuid) else rules.node(uuid), client)


def read_rules(config: AnnexConfig, client: str | None = None) -> Rules:
    """The rules of the repository for that client."""
    proxies, clusters = (_log(config, name) for name in (b"proxy.log", b"cluster.log"))
    return Rules(config.uuid, config.values, parse_proxy_log(proxies), parse_cluster_log(clusters), client)


def _log(config: AnnexConfig, name: bytes) -> bytes:
    """A log at the top of the branch, as in `Branch.read`: from the journal if it is there; empty if there is none."""
    text = _journaled(config.git_dir, b"journal", name)
    if text is None:
        threshold = b"core.bigFileThreshold=%d" % config.log_max  # then git does not hold a large log in memory either
        what = (b"-c", threshold, b"cat-file", b"blob", b"refs/heads/git-annex:" + name)
        try:
            status, text, _ = git(config.named, *what, output_max=config.log_max)
        except TooMuchOutput:
            raise NotAnAnnex(
                f"{name.decode()} in the git-annex branch has more than {config.log_max} bytes; "
                "make it shorter, or raise p2pannex.maxLogSize in the git config"
            ) from None
        text = b"" if status else text
    return text + (_journaled(config.git_dir, b"journal-private", name) or b"")


def _journaled(git_dir: bytes, directory: bytes, name: bytes) -> bytes | None:
    try:
        with open(os.path.join(git_dir, b"annex", directory, name), "rb") as file:
            return file.read()
    except OSError:
        return None
