"""The remotes of a git repository, as its git config has them, and what each says of clusters and proxying.

::

    remote.attic.url                      where it is
    remote.attic.annexUrl                 where git-annex goes instead
    remote.attic.annex-uuid               which repository is there
    remote.attic.annex-cluster-node       the names of the clusters whose node it is
    remote.attic.annex-cluster-gateway    the uuids of the clusters to which it is another gateway
    remote.attic.annex-proxy              whether clients may reach it through this repository
    remote.attic.annex-cost               the cheaper is asked first
    remote.attic.annex-shell              what to run there instead of git-annex-shell

Remotes that are repositories of git have a url; special remotes have none, and are described on the branch. It is pure,
and loads next to nothing: p2pannex-shell reads remotes before it says AUTH-SUCCESS.
"""

from __future__ import annotations

from p2pannex.git_annex.values import is_true

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL_COST = 100.0
REMOTE_COST = 200.0
"""annex-cost of a remote that has none: of one on this machine, and of any other."""


class GitRemote:
    """One remote. `settings` are those below ``remote.NAME.``, with lower-case names."""

    def __init__(self, name: str, settings: Mapping[str, str], url: str | None) -> None:
        self.name = name
        self.settings = dict(settings)
        self.url = url
        """Where git-annex finds it, with url.BASE.insteadOf applied; None of a special remote."""

    @property
    def uuid(self) -> str | None:
        """The repository that was found there; None where nobody has looked yet."""
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
    def path(self) -> str | None:
        """Where it is on this machine; None of one that is elsewhere. As git, a colon before any slash means a host."""
        if self.url is None:
            return None
        if self.url.startswith("file://"):
            return self.url.removeprefix("file://").removeprefix("localhost")
        colon = self.url.find(":")
        return self.url if colon < 0 or "/" in self.url[:colon] else None

    @property
    def cost(self) -> float:
        """annex-cost; git-annex's default for its kind where that is no number."""
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
    """The remotes in a git config, as `read_annex_config` gives it, in its order."""
    found: dict[str, dict[str, str]] = {}
    for setting, value in values.items():
        section, _, rest = setting.partition(".")
        name, dot, variable = rest.rpartition(".")
        if section == "remote" and dot:
            found.setdefault(name, {})[variable] = value
    return tuple(
        GitRemote(name, settings, _rewritten(settings.get("annexurl") or settings.get("url") or None, values))
        for name, settings in found.items()
    )


def _rewritten(url: str | None, values: Mapping[str, str]) -> str | None:
    """The url after url.BASE.insteadOf: of the prefixes that fit, the longest counts."""
    if url is None:
        return None
    bases = {
        prefix: setting[len("url.") : -len(".insteadof")]
        for setting, prefix in values.items()
        if setting.startswith("url.") and setting.endswith(".insteadof") and url.startswith(prefix)
    }
    longest = max(bases, key=len, default="")
    return bases[longest] + url[len(longest) :] if bases else url


def configured_clusters(values: Mapping[str, str]) -> dict[str, str]:
    """The uuid of each cluster that this repository is a gateway of, by its name: annex.cluster.NAME."""
    prefix = "annex.cluster."
    return {name[len(prefix) :]: uuid for name, uuid in values.items() if name.startswith(prefix)}
