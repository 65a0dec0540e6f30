"""Special remotes of a gateway repository: those that a program reaches, set up as the branch's remote.log says.

What is taken is ``type=external`` and ``type=rclone``, without encryption, chunks or trees: content is stored as it is,
under its key, by the program that git-annex runs too, and either reads what the other stored.

What a program has git-annex keep for it, states and urls of keys and credentials, is not read: git-annex has it in its
branch and its own directory, we in ``annex/p2pannex/special``. A program that cannot do without says so itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from p2pannex.gateway_repository.remotes import GitRemote
from p2pannex.protocol.errors import RemoteError
from p2pannex.stores.annex_config import AnnexConfig, is_true
from p2pannex.stores.annex_layout import AnnexLayout
from p2pannex.stores.external import ExternalStore
from p2pannex.stores.spool import Spool

_PLAIN = {"encryption": "none", "chunk": "", "chunksize": "", "exporttree": "no", "importtree": "no"}
"""Settings that have to be as here, or missing, for content to be stored as it is."""


class SpecialRemotes:
    """The special remotes of the repository of `config`, described by `remotes`, remote.log. They share a spool."""

    def __init__(self, config: AnnexConfig, remotes: Mapping[str, Mapping[str, str]]) -> None:
        self._config = config
        self._remotes = remotes
        self._directory = AnnexLayout(config).own
        self._spool: Spool | None = None

    def open(self, remote: GitRemote, uuid: str) -> ExternalStore:
        """A Service over a special remote. It blocks for small files. RemoteError where it cannot be served."""
        settings = self._remotes.get(uuid)
        if settings is None:
            raise RemoteError(f"there is nothing of the special remote {remote.name} in remote.log")
        program = program_of(remote, settings)
        if self._spool is None:
            AnnexLayout(self._config).make_directories(self._directory)
            self._spool = Spool(os.path.join(self._directory, b"spool"), disk_reserve=self._config.disk_reserve)
        return ExternalStore(
            uuid,
            program,
            settings,
            self._spool,
            os.path.join(self._directory, b"special", os.fsencode(uuid)),
            name=remote.name,
            git_dir=self._config.git_dir,
        )


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
