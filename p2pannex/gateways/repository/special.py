"""Special remotes of a gateway repository: those that a program reaches.

What is taken is ``type=external`` and ``type=rclone``, without encryption, chunks or trees: content is stored as it is,
under its key, by the program that git-annex runs too, and either reads what the other stored.

**How a special remote is set up is not taken from the branch**, which anybody who can push writes: they could have our
account run any program on its PATH, on any directory. git-annex has the owner of the repository confirm a configuration
(``git annex verifyremote``; one that was made or enabled here is confirmed), and keeps it in
``annex/verified-remote.log``. Until a change is confirmed as well, the configuration before it counts. So it does here.

What a program has git-annex keep for it, states and urls of keys and credentials, is not read: git-annex has it in its
branch and its own directory, we in ``annex/p2pannex/special``. A program that cannot do without says so itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from p2pannex.errors import RemoteError
from p2pannex.git_annex.config import AnnexConfig
from p2pannex.git_annex.layout import AnnexLayout
from p2pannex.git_annex.logs.remote_log import parse_remote_log
from p2pannex.git_annex.remotes import GitRemote
from p2pannex.git_annex.values import is_true
from p2pannex.stores.external.spool import Spool
from p2pannex.stores.external.store import ExternalStore
from p2pannex.system.disk_errors import disk_errors

_PLAIN = {"encryption": "none", "chunk": "", "chunksize": "", "exporttree": "no", "importtree": "no"}
"""Settings that have to be as here, or missing, for content to be stored as it is."""


VERIFIED = b"verified-remote.log"
"""The file with the configurations that the repository's owner has confirmed, as remote.log has them."""


def open_special(remote: GitRemote, uuid: str, config: AnnexConfig) -> ExternalStore:
    """A Service over a special remote of the repository of `config`. It blocks for small files.

    RemoteError where it cannot be served. All have one spool.
    """
    layout = AnnexLayout(config)
    settings = _verified(os.path.join(layout.annex, VERIFIED)).get(uuid)
    if settings is None or remote.settings.get("annex-verified") != "verified":
        raise RemoteError(
            f"the special remote {remote.name} is not verified; if it is where you expect it, run in the gateway's "
            f"repository: git annex verifyremote {remote.name}"
        )
    program = program_of(remote, settings)
    layout.make_directories(layout.own)
    return ExternalStore(
        uuid,
        program,
        settings,
        Spool(os.path.join(layout.own, b"spool"), disk_reserve=config.disk_reserve),
        os.path.join(layout.own, b"special", os.fsencode(uuid)),
        name=remote.name,
        git_dir=config.git_dir,
    )


def _verified(path: bytes) -> dict[str, dict[str, str]]:
    with disk_errors("cannot read which special remotes are verified"):
        try:
            with open(path, "rb") as file:
                return parse_remote_log(file.read())
        except FileNotFoundError:
            return {}


def program_of(remote: GitRemote, settings: Mapping[str, str]) -> list[str]:
    """The command line of the program that reaches a special remote. RemoteError where it takes more than that."""
    kind = settings.get("type", "")
    for name, plain in _PLAIN.items():
        value = settings.get(name) or plain
        if value != plain and (plain != "no" or is_true(value)):
            raise RemoteError(f"the special remote {remote.name} is set up with {name}={value}, which is not supported")
    if "annex-config-uuid" in remote.settings:
        raise RemoteError(f"the special remote {remote.name} is the same as another (sameas), which is not supported")
    if is_true(remote.settings.get("annex-readonly")):
        raise RemoteError(f"the special remote {remote.name} is read-only")
    if kind == "rclone":
        return ["rclone", "gitannex"]
    name = remote.settings.get("annex-externaltype") or settings.get("externaltype") or ""
    if kind != "external" or not name or name == "readonly" or "/" in name:
        said = f"externaltype={name}" if kind == "external" else f"type={kind}"
        raise RemoteError(f"the special remote {remote.name} has {said}; only external and rclone can be served")
    return [f"git-annex-remote-{name}"]
