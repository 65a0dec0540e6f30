"""`p2pannex quickstart`: the main job, from nothing, in one command.

Everything in it is real: stores on disk, served by child processes that speak the protocol. What is shown is what was
measured. `quickstart_stores` is its first part, `quickstart_cluster` its second, `quickstart_view` how it looks.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import click

from p2pannex.cli.options import prints
from p2pannex.cli.output import Output
from p2pannex.cli.quickstart.cluster_tour import ClusterTour
from p2pannex.cli.quickstart.sandbox import make_files, work_folder
from p2pannex.cli.quickstart.stores_tour import StoresTour
from p2pannex.cli.quickstart.view import JsonView, QuietView, RichView, View

MADE = {"notes.txt": 2_000, "photo.jpg": 3_000_000, "film.mkv": 50_000_000}
"""The files that are made where none are named: their bytes are made up."""


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option("--dir", "directory", metavar="DIR", type=click.Path(file_okay=False), help="Work here, and keep it.")
@prints
def quickstart(files: tuple[str, ...], directory: str | None, output: Output) -> None:
    """See the main job done, in one go.

    Put, copy, fetch back, lock and remove safely, between two stores; then a cluster of three, which loses one of them
    in the middle. The first is done with FILEs, which are only read, or with files that are made for it. Without --dir
    it happens in a temporary folder and leaves nothing behind.
    """
    import trio

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
            "git-annex calls content by a key, which says what its bytes are. p2pannex stores, fetches and removes "
            "content by its key, over the protocol that git-annex speaks. Here it does so with stores that are all on "
            "this machine: first a laptop's and a server's, then three that are one cluster."
        )
        cluster = ClusterTour(self.folder, self.view, self.output)
        stores = StoresTour(self.folder, self.files or make_files(self.folder, MADE), self.view, self.output)
        await stores.run()
        await cluster.run()
        self.end(stores)

    def end(self, stores: StoresTour) -> None:
        key = next(iter(stores.keys.values()))
        if self.kept is None:
            server, where = "STORE", "All of it was in a temporary folder, which is gone now."
            first = ("p2pannex quickstart --dir try-it", "the same again, in a folder that stays")
        else:
            server = shlex.quote(os.path.join(self.kept, "server"))
            where = f"All of it is in {self.folder}."
            first = (f"p2pannex check {server} {shlex.quote(str(key))}", "ask for one of them yourself")
        commands = [
            first,
            ("p2pannex init STORE && p2pannex put STORE FILE", "a store of your own"),
            ("p2pannex cluster --help", "many repositories as one"),
            ("p2pannex --help", "the other commands, URLs and exit codes"),
        ]
        untouched = " Your files were only read." if self.files else ""
        self.view.end(
            f"Stored, copied, fetched back, and removed where no longer needed: {len(stores.keys)} files, of each of "
            f"which there was a copy at every moment. And a cluster that gave what it had, and took what it was given, "
            f"with one of its stores dead.{untouched} {where}",
            commands,
            folder=self.kept and self.folder,
            files=len(stores.keys),
        )
