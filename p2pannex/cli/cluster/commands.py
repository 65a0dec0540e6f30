"""`p2pannex cluster`: a gateway directory, and its nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from p2pannex.cli.cluster.status import status
from p2pannex.cli.options import URL, prints
from p2pannex.cli.output import Output

if TYPE_CHECKING:
    from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig

F = TypeVar("F", bound=Callable[..., Any])

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))


class SettingType(click.ParamType):  # type: ignore[type-arg]
    """NAME=VALUE."""

    name = "setting"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not (name and equals and name.isprintable() and text.isprintable()):
            self.fail(f"{value} is not like NAME=VALUE", param, ctx)
        return name, text


def settings_of_a_node(command: F) -> F:
    """The options that `add` and `set` share. What is not given is None."""
    options = [
        click.option("--cost", type=click.FloatRange(min=0), help="Cheaper ones are asked first.  [default: 100]"),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            help="Seconds that it may leave a question unanswered.  [default: 30]",
        ),
        click.option("--transfers", type=click.IntRange(min=1), help="Transfers at a time.  [default: 8]"),
        click.option(
            "--wanted",
            metavar="EXPRESSION",
            help="Preferred content: what is stored there. Everything, where no node has an expression.",
        ),
        click.option(
            "--max-size",
            metavar="SIZE",
            help="How much it may hold, such as 500GB, for balanced= and sizebalanced=. Of directories here only.",
        ),
        click.option("--group", "groups", metavar="GROUP", multiple=True, help="A group it is in. May be repeated."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def cluster() -> None:
    """Make many repositories one: a gateway directory, and its nodes.

    Serve it as any repository: `p2pannex-shell` over ssh, `p2pannex serve DIR` on sockets, or `p2pannex put DIR ...`
    and its like on this machine.
    """


cluster.add_command(status)


@cluster.command()
@DIRECTORY
@click.option("--name", required=True, help="The cluster's name.")
@click.option("--uuid", metavar="UUID", help="The cluster's UUID, instead of a new one.")
@prints
def init(directory: str, name: str, uuid: str | None, output: Output) -> None:
    """Make a gateway directory for a new cluster, and print the cluster's UUID."""
    from p2pannex.gateways.directory.config import create

    config = create(directory, name, uuid=uuid)
    output.result(config.uuid, uuid=config.uuid, gateway=config.gateway, path=os.path.abspath(directory))


@cluster.command()
@DIRECTORY
@click.argument("name")
@click.argument("url", type=URL, required=False)
@settings_of_a_node
@click.option("--external", metavar="COMMAND", help="A special remote instead of a URL: the program that reaches it.")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    type=SettingType(),
    multiple=True,
    help="A setting of the special remote, as git annex initremote takes it. May be repeated. Others see command "
    "lines: passwords belong into the environment variables that the program reads.",
)
@click.option("--uuid", metavar="UUID", help="The special remote's UUID, instead of a new one.")
@prints
def add(
    directory: str,
    name: str,
    url: str | None,
    external: str | None,
    settings: tuple[tuple[str, str], ...],
    uuid: str | None,
    output: Output,
    **options: Any,
) -> None:
    """Add a node, which has to answer now. Gateways that are running take it up within a second.

    A node is a URL, or a special remote: --external "rclone gitannex" --set rcloneremotename=cloud.
    """
    import attrs
    import trio

    from p2pannex.cli.cluster.nodes import absolute, argv_of, ask_special, uuid_of
    from p2pannex.errors import RemoteError
    from p2pannex.gateways.directory.config import GatewayConfig, NodeConfig, change
    from p2pannex.stores.directory_config import new_uuid

    config = GatewayConfig.load(directory)
    if not name.isprintable() or not name.strip():
        raise click.UsageError("a node's name is one line of text")
    if (url is None) == (external is None):
        raise click.UsageError("a node is a URL, or a special remote (--external)")
    if external is None and (settings or uuid):
        raise click.UsageError("--set and --uuid are for special remotes (--external)")
    node = NodeConfig("", url or "", external=(external or "",) if external else (), **_given(options))
    try:
        with_it(config, directory, name, node).preferred()  # before anything is asked of the node
    except ValueError as error:
        raise RemoteError(str(error)) from error
    if external is not None:
        argv = argv_of(external)
        uuid = new_uuid(uuid)
        node = attrs.evolve(node, uuid=uuid, external=argv, settings=dict(settings))
        cost = trio.run(ask_special, directory, name, node)
        if options["cost"] is None and cost is not None:
            node = attrs.evolve(node, cost=float(cost))
    else:
        assert url is not None
        url = absolute(url)
        node = attrs.evolve(node, uuid=trio.run(uuid_of, url, node.timeout), url=url)

    def edit(config: GatewayConfig) -> GatewayConfig:
        for other, known in config.nodes.items():
            if known.uuid == node.uuid and other != name:
                raise RemoteError(f"{url or external} is the same repository as node {other}")
        if node.uuid in (config.uuid, config.gateway):
            raise RemoteError("a cluster cannot be a node of itself")
        return with_it(config, directory, name, node)

    change(directory, edit)
    output.result(node.uuid, name=name, uuid=node.uuid, **({"url": url} if url else {"external": external}))


def with_it(config: GatewayConfig, directory: str, name: str, node: NodeConfig) -> GatewayConfig:
    """The configuration with one more node. RemoteError where there is one of that name."""
    import attrs

    from p2pannex.errors import RemoteError

    if name in config.nodes:
        raise RemoteError(f"there is a node {name} already; p2pannex cluster remove {directory} {name} takes it away")
    return attrs.evolve(config, nodes={**config.nodes, name: node})


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != ()}


@cluster.command("set")
@DIRECTORY
@click.argument("name", required=False)
@settings_of_a_node
@click.option("--no-groups", is_flag=True, help="Take it out of every group.")
@click.option("--numcopies", type=click.IntRange(min=1), help="Of the cluster: what lackingcopies= goes by.")
@click.option(
    "--groupwanted",
    metavar="GROUP=EXPRESSION",
    type=SettingType(),
    multiple=True,
    help="Of the cluster: what groupwanted stands for in that group.",
)
@prints
def set_(
    directory: str,
    name: str | None,
    no_groups: bool,
    numcopies: int | None,
    groupwanted: tuple[tuple[str, str], ...],
    output: Output,
    **options: Any,
) -> None:
    """Change settings of the node NAME, or of the cluster. Those that are not named stay as they are.

    --wanted "" takes the expression away, and --max-size "" the limit. --group names all the groups that the node is
    to be in.
    """
    import attrs

    from p2pannex.errors import RemoteError
    from p2pannex.gateways.directory.config import change

    changes = _given(options) | ({"groups": ()} if no_groups else {})
    if changes and name is None:
        raise click.UsageError(f"of which node? p2pannex cluster set {directory} NAME ...")
    if no_groups and options["groups"]:
        raise click.UsageError("--group and --no-groups are two different things")

    def edit(config: GatewayConfig) -> GatewayConfig:
        nodes = dict(config.nodes)
        if name is not None:
            if name not in nodes:
                raise RemoteError(_no_node(config, name))
            nodes[name] = attrs.evolve(nodes[name], **changes)
        return attrs.evolve(
            config,
            nodes=nodes,
            numcopies=config.numcopies if numcopies is None else numcopies,
            groupwanted={**config.groupwanted, **dict(groupwanted)},
        )

    change(directory, edit)
    output.result(None, name=name)


@cluster.command()
@DIRECTORY
@click.argument("name")
@prints
def remove(directory: str, name: str, output: Output) -> None:
    """Take a node out of the cluster. Its content stays where it is."""
    import attrs

    from p2pannex.errors import RemoteError
    from p2pannex.gateways.directory.config import change

    def edit(config: GatewayConfig) -> GatewayConfig:
        if name not in config.nodes:
            raise RemoteError(_no_node(config, name))
        return attrs.evolve(config, nodes={other: node for other, node in config.nodes.items() if other != name})

    change(directory, edit)
    output.result(None, name=name)


def _no_node(config: GatewayConfig, name: str) -> str:
    return f"there is no node {name}; there are: {', '.join(config.nodes) or 'none'}"
