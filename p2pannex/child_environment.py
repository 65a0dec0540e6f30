"""The environment of every program that p2pannex starts: that of this process, without the tokens in it.

ssh, the program of an ``exec:`` URL, special remotes, git, hooks and networks' programs run as this user, but they are
other people's programs, and some pass their environment on to other machines. A token is for one server, so none of
them gets one. Each place that starts a program passes ``env=child_environment()``; a test reads the source for places
that do not.

git, and the hooks of a repository, run on the repository that a client named. They get `git_environment()`, without the
variables that would direct git to another repository or to other objects. git sets such variables for its hooks, and
p2pannex may run in one: in the hook of that repository, or of another one.

**Commits that p2pannex makes in a pre-receive hook are whole.** git keeps what a push sends in a quarantine directory
until the hook succeeds, and refuses to update refs in the hook (GIT_QUARANTINE_PATH), because a ref could come to point
to an object that is deleted if the push is refused. Without these variables, git neither writes to the quarantine nor
reads from it. So each object of the commit is in the repository's own directory, and so is each that it refers to.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORK_TOKEN_VARIABLE = "GIT_ANNEX_P2P_AUTHTOKEN"  # noqa: S105 - the name of a variable
"""git-annex's own variable for the token of a P2P network."""


_PREFIX, *_SECRETS = ["P2PANNEX_", "TOKEN", "PASSWORD", "SECRET"]


GIT_VARIABLES = frozenset(
    [
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    ]
)
"""The variables that ``git rev-parse --local-env-vars`` prints, GIT_NAMESPACE and GIT_QUARANTINE_PATH. Those with
settings (GIT_CONFIG_COUNT and GIT_CONFIG_PARAMETERS) are not among them: users set safe.directory with them."""


def is_secret(variable: str) -> bool:
    """Whether the environment variable of this name holds a token or a password of p2pannex."""
    if not variable.startswith(_PREFIX):
        return variable == NETWORK_TOKEN_VARIABLE
    return any(part in variable for part in _SECRETS)


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: `environment`, or that of this process if it is None, without secrets."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if not is_secret(name)}


def git_environment() -> dict[str, str]:
    """`child_environment` for git on a repository that was named."""
    return {name: value for name, value in child_environment().items() if name not in GIT_VARIABLES}


__all__ = ["GIT_VARIABLES", "NETWORK_TOKEN_VARIABLE", "child_environment", "git_environment", "is_secret"]
