"""`p2pannex quickstart`: demonstrate the main features in one command.

Nothing is simulated: the stores are on disk, child processes serve them over the protocol, and the times that are shown
are measured. `stores_tour` is the first part, `cluster_tour` the second; `view` prints both.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import click

from p2pannex.cli.log_lines import silence
from p2pannex.cli.options import prints
from p2pannex.cli.output import Output
from p2pannex.cli.quickstart.cluster_tour import ClusterTour
from p2pannex.cli.quickstart.sandbox import make_files, work_folder
from p2pannex.cli.quickstart.stores_tour import StoresTour
from p2pannex.cli.quickstart.view import JsonView, QuietView, RichView, View

MADE = {"notes.txt": 2_000, "photo.jpg": 3_000_000, "film.mkv": 50_000_000}
"""The files that are made if none are given: name and size in bytes. Their content is pseudo-random."""


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option(
    "--dir", "directory", metavar="DIR", type=click.Path(file_okay=False), help="Work in this directory, and keep it."
)
@prints
def quickstart(files: tuple[str, ...], directory: str | None, output: Output) -> None:
    """Demonstrate the main features with stores on this machine.

    The first part puts, copies, fetches, locks and safely removes content in two stores. It uses the FILEs, which are
    only read; without any, it makes some. The second part uses a cluster of three nodes, one of which is killed during
    a download. Without --dir, everything is in a temporary directory, which is deleted at the end.
    """
    import trio

    silence()  # the tour shows what would be logged
    view: View = JsonView() if output.as_json else QuietView() if output.quiet else RichView()
    with work_folder(directory) as folder:
        trio.run(_Tour(folder, files, directory, view, output).run)


class _Tour:
    def __init__(self, folder: str, files: Sequence[str], directory: str | None, view: View, output: Output) -> None:
        self.folder = folder
        self.files = list(files)
        self.kept = directory
        self.view = view
        self.output = output

    async def run(self) -> None:
        self.view.begin(
            "git-annex names content by a key, which is usually made from a hash of its bytes. p2pannex stores, "
            "fetches and removes content by its key, over the protocol that git-annex itself uses. Here all stores are "
            "on this machine: first two, named laptop and server, then three that form a cluster."
        )
        cluster = ClusterTour(self.folder, self.view, self.output)
        stores = StoresTour(self.folder, self.files or make_files(self.folder, MADE), self.view, self.output)
        await stores.run()
        await cluster.run()
        self.end(stores)

    def end(self, stores: StoresTour) -> None:
        key = next(iter(stores.keys.values()))
        if self.kept is None:
            server, where = "STORE", "Everything was in a temporary directory, which is deleted now."
            first = ("p2pannex quickstart --dir try-it", "the same again, in a directory that is kept")
        else:
            server = shlex.quote(os.path.join(self.kept, "server"))
            where = f"Everything is in {self.folder}."
            first = (f"p2pannex check {server} {shlex.quote(str(key))}", "check for one of the keys yourself")
        commands = [
            first,
            ("p2pannex init STORE && p2pannex put STORE FILE", "a store of your own"),
            ("p2pannex cluster --help", "several repositories presented as one"),
            ("p2pannex --help", "the other commands, URLs and exit codes"),
        ]
        untouched = " Your files were only read." if self.files else ""
        self.view.end(
            f"Files that were stored, copied, fetched back, and removed from the laptop: {len(stores.keys)}. At every "
            f"moment there was at least one copy of each. After that, a cluster completed a download and an upload "
            f"although one of its nodes had been killed.{untouched} {where}",
            commands,
            folder=self.kept and self.folder,
            files=len(stores.keys),
        )
