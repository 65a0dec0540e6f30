"""The environment of every program that p2pannex starts: that of this process, without the tokens in it.

ssh, the program of an ``exec:`` URL, special remotes, git, hooks and networks' programs run as this user, but they are
other people's programs, and some pass their environment on to other machines. A token is for one server, so none of
them gets one. Each place that starts a program passes ``env=child_environment()``; a test reads the source for places
that do not.

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


def is_secret(variable: str) -> bool:
    """Whether the environment variable of this name holds a token or a password of p2pannex."""
    if not variable.startswith(_PREFIX):
        return variable == NETWORK_TOKEN_VARIABLE
    return any(part in variable for part in _SECRETS)


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: `environment`, or that of this process if it is None, without secrets."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if not is_secret(name)}


__all__ = ["NETWORK_TOKEN_VARIABLE", "child_environment", "is_secret"]
