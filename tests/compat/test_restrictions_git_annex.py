"""What git-annex-shell refuses under each restriction: p2pannex-shell never refuses less."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.restrictions import APPEND_ONLY, AUTOINIT, DIRECTORY, LIMITED, OTHER, READ_ONLY, Restrictions
from tests.compat.annex_environment import AnnexEnvironment
from tests.support.restricted import ACTIONS, refused

pytestmark = pytest.mark.compat

STRICTER = {
    (READ_ONLY, "git-receive-pack"),
    (READ_ONLY, OTHER),
    (APPEND_ONLY, OTHER),
    (DIRECTORY, OTHER),
}
"""What only p2pannex-shell refuses; protocol-spec/deviations.md has the reasons. CONNECT is not in it, because
git-annex-shell does not support CONNECT over ssh at all."""


@pytest.mark.parametrize("restriction", [READ_ONLY, APPEND_ONLY, LIMITED, DIRECTORY])
def test_git_annex_shell(annex_env: AnnexEnvironment, restriction: str) -> None:
    repository = annex_env.repository("repository", "--bare")
    found = set()
    for action in ACTIONS:
        if action.startswith("CONNECT") or action in {"VERSION", "ERROR", "BYPASS", "NOTIFYCHANGE", "notifychanges"}:
            continue
        path, value = repository, str(repository) if restriction == DIRECTORY else "1"
        if action == AUTOINIT:
            path = annex_env.home / f"{restriction}.git"
            annex_env.run("git", "init", "-q", "--bare", path)
            value = str(path) if restriction == DIRECTORY else "1"
        theirs = refused(["git-annex-shell"], action, path, annex_env.variables, restriction, value=value)
        ours = Restrictions(restriction).refusing(action) is not None
        assert ours or not theirs, f"git-annex-shell refuses {action}"
        if ours and not theirs:
            found.add((restriction, action))
    assert found == {each for each in STRICTER if each[0] == restriction}


@pytest.mark.parametrize("program", ["git-annex-shell", "p2pannex-shell"])
def test_another_directory(annex_env: AnnexEnvironment, tmp_path: Path, program: str) -> None:
    repository = annex_env.repository("repository", "--bare")
    for action in ("configlist", "p2pstdio", "inannex", "dropkey", "git-upload-pack", "git-receive-pack"):
        assert refused([program], action, repository, annex_env.variables, DIRECTORY, value=str(tmp_path)), action
