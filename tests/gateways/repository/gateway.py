"""A gateway repository, made with git alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from p2pannex.gateways.repository import open_served
from p2pannex.gateways.repository.cluster import RepositoryCluster
from p2pannex.git_annex.branch.blocking import BlockingBranch
from p2pannex.keys.key import Key
from p2pannex.service import Service
from p2pannex.stores.directory import DirectoryStore
from p2pannex.system.disk_work import Batched
from p2pannex.testing.samples import key_of

FAM = "ac5c11f3-d741-8fa9-adac-bb580e9347d0"
OWN = "0e0e0e0e-1111-4222-8333-444444444444"
KEY = key_of(b"content")


class Gateway:
    """A gateway repository, and what is written to its git config and its branch."""

    def __init__(self, path: Path) -> None:
        self.path = path / "gateway"
        self.nodes = path
        self.uuids: dict[str, str] = {}
        subprocess.run(["git", "init", "-q", self.path], check=True)
        for setting, value in {
            "annex.uuid": OWN,
            "annex.version": "10",
            "user.name": "me",
            "user.email": "m@l",
        }.items():
            self.config(setting, value)
        self.config("annex.cluster.fam", FAM)

    def config(self, setting: str, *values: str) -> None:
        """Give a setting a value, or take it away."""
        section, _, rest = setting.partition(".")
        name, _, variable = rest.rpartition(".")
        if values:
            header = f'[{section} "{name}"]' if name else f"[{section}]"
            with open(self.path / ".git" / "config", "a") as file:
                file.write("".join(f"{header}\n\t{variable} = {value}\n" for value in values))
        else:
            subprocess.run(["git", "-C", self.path, "config", "--unset", setting], check=True)

    def write(self, log: str, *lines: str) -> None:
        branch = BlockingBranch(self.path / ".git")
        branch.change(log.encode(), lambda old: "".join(line + "\n" for line in lines).encode())
        branch.close()

    def verified(self, *lines: str) -> None:
        """Special remotes whose configuration was confirmed."""
        (self.path / ".git" / "annex" / "verified-remote.log").write_text("".join(line + "\n" for line in lines))
        for line in lines:
            (name,) = [name for name, uuid in self.uuids.items() if line.startswith(uuid)]
            self.config(f"remote.{name}.annex-verified", "verified")

    def node(self, name: str, *, there: bool = True) -> str:
        """Another node of the cluster, as updatecluster leaves it."""
        uuid = f"{len(self.uuids):08x}-2222-4222-8333-444444444444"
        if there:
            uuid = DirectoryStore.create(self.nodes / name).uuid
        self.uuids[name] = uuid
        self.config(f"remote.{name}.url", str(self.nodes / name))
        self.config(f"remote.{name}.annex-uuid", uuid)
        self.config(f"remote.{name}.annex-cluster-node", "fam")
        listed = " ".join(f"{uuid}:{name}" for name, uuid in self.uuids.items())
        self.write("proxy.log", f"1s {OWN} {FAM}:fam {listed}")
        self.write("cluster.log", f"1s {FAM} {' '.join(self.uuids.values())}")
        return uuid

    def open(self, uuid: str = FAM) -> Service:
        return open_served(self.path, uuid, disk_work=Batched())

    def cluster(self) -> RepositoryCluster:
        service = self.open()
        assert isinstance(service, RepositoryCluster)
        return service

    def locations(self, key: Key) -> set[str]:
        """Who has the content, as far as was committed."""
        branch = BlockingBranch(self.path / ".git")
        assert not branch.journal.names()
        uuids = branch.locations(key)
        branch.close()
        return {name for name, uuid in self.uuids.items() if uuid in uuids}

    def has(self, name: str, key: Key = KEY) -> bool:
        return DirectoryStore(self.nodes / name).present(key)
