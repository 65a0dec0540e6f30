"""`p2pannex token`: the tokens that admit clients to a store's sockets, and those that this user has for servers.

`create`, `list` and `revoke` are for the owner of a store; `save` and `forget` for a user of other people's servers.
"""

from __future__ import annotations

import datetime
import re
import sys
import time
from typing import TYPE_CHECKING

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import URL, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from p2pannex.access import Grant, TokenFile

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))


class MomentType(click.ParamType):  # type: ignore[type-arg]
    """A duration from now such as `90d`, or a date; converted to POSIX seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        if re.fullmatch(r"[0-9]{1,9}[smhdw]", text):
            return time.time() + int(text[:-1]) * UNITS[text[-1]]
        try:
            return datetime.datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{text} is neither a duration (90d, 12h) nor a date (2030-01-31, 2030-01-31T12:00)", param, ctx)


def _open(directory: str) -> TokenFile:
    import trio

    from p2pannex.access import TokenFile
    from p2pannex.urls import open_local

    async def find() -> bytes:
        store = open_local(directory)
        try:
            return store.tokens_directory()
        finally:
            await store.aclose()

    return TokenFile(trio.run(find))


def _fields(grant: Grant) -> dict[str, object]:
    return {
        "id": grant.id,
        "name": grant.name,
        "mode": grant.mode.value,
        "created": grant.created,
        "expires": grant.expires,
    }


@click.group()
def token() -> None:
    """Make, list and revoke tokens of a store, a git-annex repository or a gateway directory.

    `p2pannex serve` admits clients that send one of them. A client saves the token that it was given with
    `p2pannex token save`: it is then sent to that server, and to no other.
    """


@token.command()
@DIRECTORY
@click.option("--name", default="", metavar="NAME", help="A name for lists.")
@click.option(
    "--mode",
    type=click.Choice(["read-write", "append-only", "read-only"]),
    default="read-write",
    show_default=True,
    help="What clients with this token may do.",
)
@click.option("--expires", type=MomentType(), metavar="WHEN", help="A duration (90d, 12h) or a date.  [default: never]")
@prints
def create(directory: str, name: str, mode: str, expires: float | None, output: Output) -> None:
    """Make a token and print it. Only its hash is stored, so it cannot be printed again."""
    from p2pannex.access import Mode

    if expires is not None and expires <= time.time():
        raise click.UsageError("--expires is in the past")
    made, grant = _open(directory).create(mode=Mode(mode), expires=expires, name=name)
    if output.quiet and not output.as_json:
        click.echo(made)  # it cannot be learned later
    else:
        output.result(made, token=made, **_fields(grant))


@token.command("list")
@DIRECTORY
@prints
def list_tokens(directory: str, output: Output) -> None:
    """List tokens: id, mode, expiry, name."""
    now = time.time()
    for grant in _open(directory).grants():
        if grant.expires is None:
            until = "never expires"
        else:
            day = datetime.datetime.fromtimestamp(grant.expires).astimezone().strftime("%Y-%m-%d %H:%M")
            until = f"{'expired' if grant.expires <= now else 'expires'} {day}"
        output.result(f"{grant.id}  {grant.mode.value:<11}  {until:<24}  {grant.name}".rstrip(), **_fields(grant))


@token.command()
@DIRECTORY
@click.argument("which", metavar="ID|NAME")
@prints
def revoke(directory: str, which: str, output: Output) -> int:
    """Delete a token. Connections that used it are closed within a minute."""
    grant = _open(directory).revoke(which)
    if grant is None:
        return output.problem(
            exit_codes.NO, f"there is no token {which}; see: p2pannex token list {directory}", revoked=False
        )
    output.result(f"revoked {grant.id}", revoked=True, **_fields(grant))
    return exit_codes.DONE


@token.command()
@click.argument("url", type=URL)
@prints
def save(url: str, output: Output) -> None:
    """Save the token for the server at URL, which commands and gateways then send to it.

    It is read from standard input, or asked for on a terminal.
    """
    from p2pannex.server_tokens import save_token, tokens_path

    given = click.prompt("token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    server = save_token(url, given.strip())
    output.result(f"saved the token for {server} in {tokens_path()}", server=server, path=tokens_path())


@token.command()
@click.argument("url", type=URL)
@prints
def forget(url: str, output: Output) -> int:
    """Delete the saved token for the server at URL."""
    from p2pannex.server_tokens import forget_token, tokens_path

    if not forget_token(url):
        return output.problem(exit_codes.NO, f"there is no token for {url} in {tokens_path()}", forgotten=False)
    output.result(f"deleted the token for {url}", forgotten=True)
    return exit_codes.DONE
