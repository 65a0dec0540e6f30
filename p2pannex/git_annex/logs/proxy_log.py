"""Which repositories can be reached through which: proxy.log, a list of ``UUID:NAME``, the proxy's names for them."""

from __future__ import annotations

from p2pannex.git_annex.logs.timed_log import parse_timed_log


def parse_proxy_log(text: bytes) -> dict[str, dict[str, str]]:
    """For each proxy, the names of the repositories that it stands for, by their uuids. Any bytes are a log."""
    proxies = {}
    for proxy, value in parse_timed_log(text).items():
        remotes = (word.partition(":") for word in value.split())
        proxies[proxy] = {uuid: name for uuid, colon, name in remotes if uuid and colon}
    return proxies
