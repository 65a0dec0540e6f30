"""The remotes in a git config, with their settings for clusters and proxying.

::

    remote.attic.url                      its address
    remote.attic.annexUrl                 the address that git-annex uses instead
    remote.attic.annex-uuid               the uuid of the repository there
    remote.attic.annex-cluster-node       the names of the clusters that it is a node of
    remote.attic.annex-cluster-gateway    the uuids of the clusters that it is another gateway of
    remote.attic.annex-proxy              whether clients may reach it through this repository
    remote.attic.annex-trustlevel         how far it is trusted; counts instead of the git-annex branch's trust.log
    remote.attic.annex-private            whether nothing about it is recorded in the git-annex branch
    remote.attic.annex-cost               remotes with a lower cost are preferred
    remote.attic.annex-shell              the program to run there instead of git-annex-shell

A remote that is a git repository has a url. A special remote has none; the git-annex branch describes it.

This module does no I/O and imports very little: p2pannex-shell reads the remotes before it sends AUTH-SUCCESS.
"""

from __future__ import annotations

from p2pannex.git_annex.values import is_true

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2pannex.git_annex.logs.trust_log import TrustLevel

LOCAL_COST = 100.0
REMOTE_COST = 200.0
"""The cost of a remote without annex-cost: LOCAL_COST if it is on this machine, otherwise REMOTE_COST."""


class GitRemote:
    """One remote. `settings` are its settings below ``remote.NAME.``, with lower-case names."""

    def __init__(self, name: str, settings: Mapping[str, str], url: str | None) -> None:
        self.name = name
        self.settings = dict(settings)
        self.url = url
        """The address that git-annex uses, with url.BASE.insteadOf applied. None for a special remote."""

    @property
    def uuid(self) -> str | None:
        """The uuid of the repository there. None if git-annex has not connected to it yet."""
        return self.settings.get("annex-uuid") or None

    @property
    def cluster_nodes(self) -> tuple[str, ...]:
        """The names of the clusters that it is a node of."""
        return tuple(self.settings.get("annex-cluster-node", "").split())

    @property
    def cluster_gateways(self) -> tuple[str, ...]:
        """The uuids of the clusters that it is a gateway of."""
        return tuple(self.settings.get("annex-cluster-gateway", "").split())

    @property
    def proxied(self) -> bool:
        return is_true(self.settings.get("annex-proxy"))

    @property
    def trust(self) -> TrustLevel | None:
        """annex-trustlevel, which counts instead of the git-annex branch's trust.log; None if it is not set."""
        from p2pannex.git_annex.logs.trust_log import TrustLevel

        return TrustLevel.__members__.get(self.settings.get("annex-trustlevel", "").upper())

    @property
    def private(self) -> bool:
        return is_true(self.settings.get("annex-private"))

    @property
    def path(self) -> str | None:
        """Its path on this machine, or None if it is on another. As in git, a colon before any slash follows a host."""
        if self.url is None:
            return None
        if self.url.startswith("file://"):
            return self.url.removeprefix("file://").removeprefix("localhost")
        colon = self.url.find(":")
        return self.url if colon < 0 or "/" in self.url[:colon] else None

    @property
    def cost(self) -> float:
        """Its annex-cost, or git-annex's default if that is not a number from 0 to below 1e9."""
        try:
            cost = float(self.settings.get("annex-cost", ""))
        except ValueError:
            cost = -1.0
        if 0 <= cost < 1e9:
            return cost
        return REMOTE_COST if self.path is None else LOCAL_COST

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, GitRemote)
            and (self.name, self.url) == (other.name, other.url)
            and (self.settings == other.settings)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.url))

    def __repr__(self) -> str:
        return f"<GitRemote {self.name} {self.uuid}>"


def git_remotes(values: Mapping[str, str]) -> tuple[GitRemote, ...]:
    """The remotes in a git config (`AnnexConfig.values`), in its order."""
    found: dict[str, dict[str, str]] = {}
    for setting, value in values.items():
        section, _, rest = setting.partition(".")
        name, dot, variable = rest.rpartition(".")
        if section == "remote" and dot:
            found.setdefault(name, {})[variable] = value
    return tuple(GitRemote(name, settings, _url(settings, values)) for name, settings in found.items())


def _url(settings: Mapping[str, str], values: Mapping[str, str]) -> str | None:
    """The address that git-annex uses: annexUrl, or url; rewritten by url.BASE.insteadOf, url by annexInsteadOf."""
    annex_url = settings.get("annexurl")
    if annex_url:
        return rewritten(annex_url, values)
    url = settings.get("url")
    if not url:
        return None
    for_annex = rewritten(url, values, ".annexinsteadof")
    return for_annex if for_annex != url else rewritten(url, values)


def rewritten(url: str, values: Mapping[str, str], ending: str = ".insteadof") -> str:
    """The url with url.BASE.insteadOf applied. If several prefixes match, git uses the longest."""
    bases = {
        prefix: setting[len("url.") : -len(ending)]
        for setting, prefixes in values.items()
        if setting.startswith("url.") and setting.endswith(ending)
        for prefix in prefixes.split("\n")
        if prefix and url.startswith(prefix)
    }
    longest = max(bases, key=len, default="")
    return bases[longest] + url[len(longest) :] if bases else url


def configured_clusters(values: Mapping[str, str]) -> dict[str, str]:
    """The uuid of each cluster that this repository is a gateway of, by its name: annex.cluster.NAME."""
    prefix = "annex.cluster."
    return {name[len(prefix) :]: uuid for name, uuid in values.items() if name.startswith(prefix)}
