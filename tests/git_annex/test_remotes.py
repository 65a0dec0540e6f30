"""The remotes in a repository's git config."""

from __future__ import annotations

import pytest

from p2pannex.git_annex.remotes import GitRemote, git_remotes


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/srv/annex", "/srv/annex"),
        ("../annex", "../annex"),
        ("file:///srv/annex", "/srv/annex"),
        ("file://localhost/srv/annex", "/srv/annex"),
        ("./a:b", "./a:b"),
        ("host:annex", None),
        ("ssh://host/annex", None),
        ("p2p-annex::net:address", None),
    ],
)
def test_which_remotes_are_on_this_machine(url: str, path: str | None) -> None:
    remote = GitRemote("r", {}, url)
    assert remote.path == path
    assert remote.cost == (200 if path is None else 100)
    assert GitRemote("r", {"annex-cost": "37.5"}, url).cost == 37.5
    assert GitRemote("r", {"annex-cost": "much"}, url).cost == remote.cost


def test_urls_are_those_that_git_would_use() -> None:
    config = {
        "remote.a.url": "work:annex",
        "remote.b.url": "short:annex",
        "remote.b.annexurl": "p2p-annex::net:b",
        "remote.c.d.url": "worker:x",
        "remote.special.annex-uuid": "s",
        "url.ssh://work.example/srv/.insteadof": "work:",
        "url.wrong.insteadof": "wor",
    }
    assert {remote.name: remote.url for remote in git_remotes(config)} == {
        "a": "ssh://work.example/srv/annex",
        "b": "p2p-annex::net:b",
        "c.d": "wrongker:x",
        "special": None,
    }
