"""Which special remotes can be served, by what git-annex says of them."""

from __future__ import annotations

import pytest

from p2pannex.errors import RemoteError
from p2pannex.gateways.repository.special import program_of
from p2pannex.git_annex.logs.remote_log import parse_remote_log
from p2pannex.git_annex.remotes import GitRemote


def program(settings: str, **configured: str) -> list[str]:
    config = {name.replace("_", "-"): value for name, value in configured.items()}
    (described,) = parse_remote_log(f"uuid {settings} timestamp=1s\n".encode()).values()
    return program_of(GitRemote("cloud", config, None), described)


def test_those_that_are() -> None:
    assert program("type=external externaltype=foo encryption=none") == ["git-annex-remote-foo"]
    assert program("type=external externaltype=foo exporttree=no") == ["git-annex-remote-foo"]
    assert program("type=external externaltype=foo", annex_externaltype="bar") == ["git-annex-remote-bar"]
    assert program("type=rclone encryption=none") == ["rclone", "gitannex"]


@pytest.mark.parametrize(
    ("settings", "configured", "named"),
    [
        ("type=S3 encryption=none", {}, "type=S3"),
        ("type=external encryption=none", {}, "externaltype="),
        ("type=external externaltype=readonly", {}, "externaltype=readonly"),
        ("type=external externaltype=../foo", {}, "externaltype=../foo"),
        ("type=rclone encryption=shared", {}, "encryption=shared"),
        ("type=rclone encryption=none chunk=1MiB", {}, "chunk=1MiB"),
        ("type=rclone exporttree=yes", {}, "exporttree=yes"),
        ("type=rclone", {"annex_readonly": "true"}, "read-only"),
        ("type=rclone", {"annex_config_uuid": "x"}, "sameas"),
    ],
)
def test_those_that_are_not(settings: str, configured: dict[str, str], named: str) -> None:
    with pytest.raises(RemoteError, match=rf"special remote cloud .*{named}"):
        program(settings, **configured)
