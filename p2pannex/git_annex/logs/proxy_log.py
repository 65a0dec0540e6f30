"""proxy.log: the repositories that each proxy gives access to. The value is a list of ``UUID:NAME``."""

from __future__ import annotations

from p2pannex.git_annex.logs.timed_log import parse_timed_log


def parse_proxy_log(text: bytes) -> dict[str, dict[str, str]]:
    """The names that each proxy gives to the repositories behind it, by the uuids of both. Accepts any bytes."""
    proxies = {}
    for proxy, value in parse_timed_log(text).items():
        remotes = (word.partition(":") for word in value.split())
        proxies[proxy] = {uuid: name for uuid, colon, name in remotes if uuid and colon}
    return proxies
