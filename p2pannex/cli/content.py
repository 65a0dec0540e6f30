"""`p2pannex put`, `get`, `check` and `copy`: store, fetch, look up and copy content."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.errors import complain
from p2pannex.cli.log_lines import silence
from p2pannex.cli.options import BACKEND, KEY, URL, ConnectionOptions, connects, prints, text_of
from p2pannex.cli.output import Output
from p2pannex.cli.progress import hashing_bar, transfer_bar
from p2pannex.keys.key import Key
from p2pannex.transfer.file_keys import key_for_file

if TYPE_CHECKING:
    from p2pannex.service import AlreadyHave, Service, Stored
    from p2pannex.transfer.errors import NotStoredError

T = TypeVar("T")


async def each(items: Sequence[T], do: Callable[[T], Awaitable[int]], output: Output, name: str) -> int:
    """Call `do` for every item, even if an earlier one failed. Returns the highest exit code.

    `name` is the JSON field that says which item failed. A lost connection ends the loop: ConnectionLost is raised.
    """
    from p2pannex.errors import RemoteError

    worst = exit_codes.DONE
    for item in items:
        try:
            code = await do(item)
        except BrokenPipeError:
            raise  # standard output is closed
        except (RemoteError, OSError) as error:
            code = output.failure(error, **{name: str(item)})
        worst = max(worst, code)
    return worst


def log_nothing_of(service: Service) -> None:
    """To be called if the command prints the failures of a cluster's nodes itself: they are not logged as well."""
    if hasattr(service, "nodes"):
        silence()


# put -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("url", type=URL)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--backend", type=BACKEND, default="SHA256E", show_default=True, help="How to make keys from files.")
@click.option("--key", type=KEY, help="The key of the one FILE, instead of making one.")
@connects
@prints
def put(
    url: str, files: tuple[str, ...], backend: str, key: Key | None, connection: ConnectionOptions, output: Output
) -> int:
    """Store files and print the key of each.

    Each key is printed on a line of its own, once the repository has all of the content and has verified it. After an
    interruption, the same command continues where it stopped.
    """
    import trio

    if key is not None and len(files) > 1:
        raise click.UsageError("--key takes exactly one FILE")
    return trio.run(_put, url, files, backend, key, connection, output)


async def _put(
    url: str, files: tuple[str, ...], backend: str, key: Key | None, connection: ConnectionOptions, output: Output
) -> int:
    async with connection.open(url) as service:
        log_nothing_of(service)

        async def put_one(path: str) -> int:
            return await _put_file(service, path, key or await _key_for(path, backend, output), output)

        return await each(files, put_one, output, "file")


async def _key_for(path: str, backend: str, output: Output) -> Key:
    import trio

    with hashing_bar(output, path, os.stat(path).st_size) as progress:
        make = functools.partial(key_for_file, path, backend, progress)
        return await trio.to_thread.run_sync(make, abandon_on_cancel=True)


async def _put_file(service: Service, path: str, key: Key, output: Output) -> int:
    from p2pannex.transfer.transfer import send

    started = time.monotonic()
    with transfer_bar(output, path) as watch:
        outcome = await _outcome(send(service, key, path, file=_hint(path), progress=watch))
    return _report_upload(outcome, key, output, key.raw, file=path, **_figures(watch.offset, watch.count, started))


async def _outcome(upload: Awaitable[Stored | AlreadyHave]) -> Stored | AlreadyHave | NotStoredError:
    from p2pannex.transfer.errors import NotStoredError

    try:
        return await upload
    except NotStoredError as error:
        return error


def _hint(path: str) -> bytes | None:
    """The file name to send to the server as a hint; None if it would reveal directories of this machine."""
    return None if os.path.isabs(path) or ".." in path.split(os.sep) else os.fsencode(path)


def _figures(offset: int, count: int, started: float) -> dict[str, float]:
    return {"bytes": count - offset, "resumed_at": offset, "seconds": round(time.monotonic() - started, 6)}


def _report_upload(
    outcome: Stored | AlreadyHave | NotStoredError, key: Key, output: Output, text: bytes, **fields: object
) -> int:
    """Print the outcome of an upload and return the exit code. `text` is what people read if it was stored.

    Nodes of a cluster that did not store the content are named, on standard error as well.
    """
    from p2pannex.service import AlreadyHave

    fields = {**fields, "key": str(key), "uuids": sorted(outcome.uuids), "not_stored": dict(outcome.failures)}
    if isinstance(outcome, Exception):
        return output.failure(outcome, **fields, status="not stored")
    for node, reason in outcome.failures.items():
        complain(f"{key} was not stored on node {node}: {reason}")
    output.result(text, **fields, status="present before" if isinstance(outcome, AlreadyHave) else "stored")
    return exit_codes.DONE


# get -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("url", type=URL)
@click.argument("key", type=KEY)
@click.option(
    "-o", "--output", "path", metavar="FILE", required=True, type=click.Path(), help="Where to put the content."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@connects
@prints
def get(url: str, key: Key, path: str, force: bool, connection: ConnectionOptions, output: Output) -> None:
    """Fetch the content of a key into a file.

    FILE exists once its content is complete and verified, never before. Until then the content is in a file beside it,
    whose name ends in .p2pannex-partial. After an interruption, the same command continues from there.
    """
    import trio

    trio.run(_get, url, key, path, force, connection, output)


async def _get(url: str, key: Key, path: str, force: bool, connection: ConnectionOptions, output: Output) -> None:
    from p2pannex.transfer.transfer import retrieve

    async with connection.open(url) as service:
        started = time.monotonic()
        with transfer_bar(output, path) as watch:
            await retrieve(service, key, path, progress=watch, overwrite=force)
        figures = _figures(watch.offset, watch.count, started)
        output.result(None, key=str(key), file=path, verified=key.verifier().conclusive, **figures)


# check -----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("url", type=URL)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, type=KEY)
@connects
@prints
def check(url: str, keys: tuple[Key, ...], connection: ConnectionOptions, output: Output) -> int:
    """Report whether content is present.

    The exit code is 1 if any content is absent.
    """
    import trio

    return trio.run(_check, url, keys, connection, output)


async def _check(url: str, keys: tuple[Key, ...], connection: ConnectionOptions, output: Output) -> int:
    async with connection.open(url) as service:

        async def check_one(key: Key) -> int:
            present = await service.check_present(key)
            output.result((b"present " if present else b"absent ") + key.raw, key=str(key), present=present)
            return exit_codes.DONE if present else exit_codes.NO

        return await each(keys, check_one, output, "key")


# copy ------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("source", metavar="FROM_URL", type=URL)
@click.argument("target", metavar="TO_URL", type=URL)
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, type=KEY)
@click.option(
    "--to-token",
    envvar="P2PANNEX_TO_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="The token for TO_URL.",
)
@connects
@prints
def copy(
    source: str, target: str, keys: tuple[Key, ...], to_token: str | None, connection: ConnectionOptions, output: Output
) -> int:
    """Copy content between repositories.

    Prints the key of each content that TO_URL now has.
    """
    import trio

    return trio.run(_copy, source, target, keys, to_token, connection, output)


async def _copy(
    source: str, target: str, keys: tuple[Key, ...], to_token: str | None, connection: ConnectionOptions, output: Output
) -> int:
    from p2pannex.transfer.copying import copy as copy_content

    async with connection.open(source) as one, connection.open(target, token=to_token) as other:

        async def copy_one(key: Key) -> int:
            started = time.monotonic()
            with transfer_bar(output, text_of(key.raw)) as watch:
                outcome = await _outcome(copy_content(one, other, key, progress=watch))
            return _report_upload(outcome, key, output, key.raw, **_figures(watch.offset, watch.count, started))

        return await each(keys, copy_one, output, "key")
