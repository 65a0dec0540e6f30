"""`p2pannex cluster`: make a gateway directory, and add, change and remove its nodes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.cluster.status import status, too_few_nodes
from p2pannex.cli.errors import complain, describe
from p2pannex.cli.options import URL, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from p2pannex.gateways.directory.config import GatewayConfig

F = TypeVar("F", bound=Callable[..., Any])

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))


class SettingType(click.ParamType):  # type: ignore[type-arg]
    """NAME=VALUE, as a pair."""

    name = "setting"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not (name and equals and name.isprintable() and text.isprintable()):
            self.fail(f"{value} is not like NAME=VALUE", param, ctx)
        return name, text


def copies_option(default: str) -> Callable[[F], F]:
    """--copies, with the text about its default at the end of its help."""
    return click.option(
        "--copies",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="Of the cluster: the least number of nodes that must have content. An upload that leaves fewer copies "
        f"fails, though the nodes that stored the content keep it.{default}",
    )


def settings_of_a_node(*, defaults: bool) -> Callable[[F], F]:
    """Add the options that `add` and `set` share. Those that are not given are None, or () for `groups`.

    `defaults`: whether the help names the defaults, which only a new node gets.
    """

    def default(value: str) -> str:
        return f"  [default: {value}]" if defaults else ""

    options = [
        click.option("--cost", type=click.FloatRange(min=0), help=f"Cheaper nodes are used first.{default('100')}"),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            help=f"How many seconds a request may remain without a reply.{default('30')}",
        ),
        click.option("--transfers", type=click.IntRange(min=1), help=f"Transfers at a time.{default('8')}"),
        click.option(
            "--wanted",
            metavar="EXPRESSION",
            help="Preferred content: what is stored there. A node without an expression stores everything.",
        ),
        click.option(
            "--max-size",
            metavar="SIZE",
            help="How much it may hold, such as 500GB, for balanced= and sizebalanced=. Only for directories of this "
            "machine.",
        ),
        click.option(
            "--group", "groups", metavar="GROUP", multiple=True, help="A group that it belongs to. May be repeated."
        ),
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def warn_of_too_few_nodes(config: GatewayConfig) -> None:
    if warning := too_few_nodes(len(config.nodes), config.copies):
        complain(warning)


@click.group()
def cluster() -> None:
    """Present several repositories, the nodes, as one.

    The gateway directory DIR can be used like a store: with `p2pannex put DIR ...` on this machine, over ssh with
    `p2pannex-shell`, or on sockets with `p2pannex serve DIR`.
    """


cluster.add_command(status)


@cluster.command()
@DIRECTORY
@click.option("--name", required=True, help="The cluster's name.")
@click.option("--uuid", metavar="UUID", help="The cluster's UUID, instead of a new one.")
@copies_option("  [default: 1]")
@prints
def init(directory: str, name: str, uuid: str | None, copies: int | None, output: Output) -> None:
    """Make a gateway directory for a new cluster and print the cluster's UUID.

    p2pannex-shell of this account may serve it from now on (see `p2pannex trust`).
    """
    from p2pannex.gateways.directory.config import create

    config = create(directory, name, uuid=uuid, copies=copies or 1)
    output.result(config.uuid, uuid=config.uuid, gateway=config.gateway, path=os.path.abspath(directory))
    warn_of_too_few_nodes(config)


@cluster.command()
@DIRECTORY
@click.argument("name")
@click.argument("url", type=URL, required=False)
@settings_of_a_node(defaults=True)
@click.option("--external", metavar="COMMAND", help="The program that reaches a special remote, instead of a URL.")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    type=SettingType(),
    multiple=True,
    help="A setting of the special remote, as for git annex initremote. May be repeated. Other users can see command "
    "lines: pass passwords through the environment variables that the program reads.",
)
@click.option(
    "--uuid",
    metavar="UUID",
    help="The UUID of the repository that URL must lead to; for a special remote, its UUID instead of a new one.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Add the node even if it does not work now. If a URL cannot be reached, --uuid must be given as well.",
)
@prints
def add(
    directory: str,
    name: str,
    url: str | None,
    external: str | None,
    settings: tuple[tuple[str, str], ...],
    uuid: str | None,
    force: bool,
    output: Output,
    **options: Any,
) -> int:
    """Add a node. Running gateways use it within a second.

    A node is a URL, or a special remote: --external "rclone gitannex" --set rcloneremotename=cloud.

    The node must work now: it is sent the requests that a client sends to look for content and to store it. In a
    special remote, 32 random bytes are stored, and removed again. If a request fails, the node is not added.
    """
    from functools import partial

    import trio

    from p2pannex.errors import ConnectionLost, RemoteError
    from p2pannex.gateways.directory.add_node import add_node, check_node_name
    from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig
    from p2pannex.p2p.remote import AuthenticationFailed
    from p2pannex.urls import open_url

    GatewayConfig.load(directory)  # reports an error if the directory is no gateway
    try:
        check_node_name(name)
    except RemoteError as error:
        raise click.UsageError(str(error)) from error
    if (url is None) == (external is None):
        raise click.UsageError("a node is a URL, or a special remote (--external)")
    if external is None and settings:
        raise click.UsageError("--set settings are for special remotes (--external)")
    argv = () if external is None else _argv_of(external)
    given = NodeConfig(uuid or "", url or "", external=argv, settings=dict(settings), **_given(options))
    remarks: list[str] = []
    adding = partial(add_node, reported_cost=options["cost"] is None, force=force, inform=remarks.append)
    try:
        node = trio.run(adding, directory, name, given, partial(open_url, capture_stderr=True))
    except (RemoteError, ConnectionLost) as error:
        if url is not None and isinstance(error, AuthenticationFailed):
            error.add_note(url)
        code, text = describe(error)
        return output.problem(code, f"node {name} was not added: {text}", name=name)
    for remark in remarks:
        complain(f"node {name} was added, but {remark}")
    fields = {"remarks": remarks} if remarks else {}
    where = {"url": node.url} if node.url else {"external": external}
    output.result(node.uuid, name=name, uuid=node.uuid, **where, **fields)
    warn_of_too_few_nodes(GatewayConfig.load(directory))
    return exit_codes.DONE


def _argv_of(command: str) -> tuple[str, ...]:
    """Split the command line of a special remote's program."""
    try:
        argv = tuple(shlex.split(command))
    except ValueError as error:
        raise click.UsageError(f"--external: {str(error).lower()}") from error
    if not argv:
        raise click.UsageError("--external: the program is missing")
    return argv


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != ()}


@cluster.command("set")
@DIRECTORY
@click.argument("name", required=False)
@settings_of_a_node(defaults=False)
@click.option("--no-groups", is_flag=True, help="Remove the node from all groups.")
@copies_option("")
@click.option(
    "--numcopies", type=click.IntRange(min=1), help="Of the cluster: the number of copies that lackingcopies= uses."
)
@click.option(
    "--groupwanted",
    metavar="GROUP=EXPRESSION",
    type=SettingType(),
    multiple=True,
    help="Of the cluster: the expression that groupwanted stands for in that group. May be repeated.",
)
@prints
def set_(
    directory: str,
    name: str | None,
    no_groups: bool,
    copies: int | None,
    numcopies: int | None,
    groupwanted: tuple[tuple[str, str], ...],
    output: Output,
    **options: Any,
) -> None:
    """Change settings of the node NAME, or of the cluster. Settings that are not given stay as they are.

    --wanted "" deletes the expression, and --max-size "" the limit. --group replaces all groups of the node.
    """
    import attrs

    from p2pannex.gateways.directory.config import change

    changes = _given(options) | ({"groups": ()} if no_groups else {})
    if changes and name is None:
        raise click.UsageError(f"the node is missing: p2pannex cluster set {directory} NAME ...")
    of_the_cluster = copies is not None or numcopies is not None or bool(groupwanted)
    if of_the_cluster and name is not None:
        raise click.UsageError(
            "--copies, --numcopies and --groupwanted are settings of the cluster: leave out the name of the node"
        )
    if not of_the_cluster and not changes:
        raise click.UsageError("no setting is given")
    if no_groups and options["groups"]:
        raise click.UsageError("--group and --no-groups exclude each other")

    def edit(config: GatewayConfig) -> GatewayConfig:
        if name is not None:
            config = config.with_node(name, attrs.evolve(config.node(name), **changes))
        return attrs.evolve(
            config,
            copies=config.copies if copies is None else copies,
            numcopies=config.numcopies if numcopies is None else numcopies,
            groupwanted={**config.groupwanted, **dict(groupwanted)},
        )

    config = change(directory, edit)
    output.result(None, name=name)
    warn_of_too_few_nodes(config)


@cluster.command()
@DIRECTORY
@click.argument("name")
@prints
def remove(directory: str, name: str, output: Output) -> None:
    """Remove a node from the cluster. Its content stays where it is."""
    from p2pannex.gateways.directory.config import change

    config = change(directory, lambda config: config.without_node(name))
    output.result(None, name=name)
    warn_of_too_few_nodes(config)
