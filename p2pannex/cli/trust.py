"""`p2pannex trust`: the directories that this account trusts although a client or another user may have filled them."""

from __future__ import annotations

import os

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import prints
from p2pannex.cli.output import Output


@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(exists=True, file_okay=False), required=False)
@click.option("--remove", is_flag=True, help="Do not trust DIR any longer.")
@prints
def trust(directory: str | None, remove: bool, output: Output) -> int:
    """Trust the configuration in a directory, which may name programs to run. Without DIR, list trusted directories.

    p2pannex-shell serves the gateway directory of a cluster only if it is trusted (`p2pannex cluster init` does that).
    A directory of another user, or one that is part of a commit in a work tree, must be trusted as well.
    """
    from p2pannex.stores.trusted_directories import distrust, is_trusted, trusted_directories
    from p2pannex.stores.trusted_directories import trust as add

    if directory is None:
        if remove:
            raise click.UsageError("--remove needs DIR")
        for each in map(os.fsdecode, trusted_directories()):
            output.result(each, path=each)
        return exit_codes.DONE
    path = os.path.realpath(directory)
    if remove and not is_trusted(directory):
        return output.problem(exit_codes.NO, f"{path} is not trusted; see: p2pannex trust", path=path, trusted=False)
    (distrust if remove else add)(directory)
    output.result(None, path=path, trusted=not remove)
    return exit_codes.DONE


__all__ = ["trust"]
