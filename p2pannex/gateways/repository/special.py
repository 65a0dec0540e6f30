"""Opens special remotes of a gateway repository: those that an external program reaches.

Supported are ``type=external`` and ``type=rclone``, without encryption, chunks or trees. Content is stored unchanged,
under its key. The program is the one that git-annex runs too, so git-annex and p2pannex can read each other's content.

**The configuration of a special remote is not taken from the branch**, which every account with push access can write:
such an account could make the gateway's account run any program on its PATH, on any directory. In git-annex the owner
of the repository confirms a configuration (with ``git annex verifyremote``; one that was made or enabled here counts as
confirmed), and git-annex stores it in ``annex/verified-remote.log``. Until a change is confirmed, the last confirmed
configuration is used. p2pannex does the same, with the same file.

Data that a program has git-annex store for it (states and URLs of keys, credentials) is not read: git-annex stores it
in the branch and in its own directory, p2pannex in ``annex/p2pannex/special``. A program that cannot work without this
data reports that itself.
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
"""Settings that must have these values, or be missing, so that content is stored unchanged."""


VERIFIED = b"verified-remote.log"
"""The file with the configurations that the repository's owner has confirmed, in the format of remote.log."""


def open_special(remote: GitRemote, uuid: str, config: AnnexConfig) -> ExternalStore:
    """Open a special remote of the repository of `config`. All special remotes share one spool.

    RemoteError if it cannot be served. Blocks while it reads and writes small files.
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
    """The command line of the program that reaches a special remote. RemoteError if the remote is not supported."""
    kind = settings.get("type", "")
    for name, plain in _PLAIN.items():
        value = settings.get(name) or plain
        if value != plain and (plain != "no" or is_true(value)):
            raise RemoteError(f"the special remote {remote.name} is set up with {name}={value}, which is not supported")
    if "annex-config-uuid" in remote.settings:
        raise RemoteError(f"the special remote {remote.name} shares its storage (sameas), which is not supported")
    if is_true(remote.settings.get("annex-readonly")):
        raise RemoteError(f"the special remote {remote.name} is read-only")
    if kind == "rclone":
        return ["rclone", "gitannex"]
    name = remote.settings.get("annex-externaltype") or settings.get("externaltype") or ""
    if kind != "external" or not name or name == "readonly" or "/" in name:
        found = f"externaltype={name}" if kind == "external" else f"type={kind}"
        raise RemoteError(f"the special remote {remote.name} has {found}; only external and rclone can be served")
    return [f"git-annex-remote-{name}"]
