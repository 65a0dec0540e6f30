"""The configuration of a gateway directory: what is saved is loaded, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from p2pannex.errors import RemoteError
from p2pannex.gateways.directory.cluster import GatewayConfig, NodeConfig, NotAGateway, change, create


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    nodes = {
        name: NodeConfig("u" + str(i), f"exec:a 'b' \\ {name}", 2.5, 7) for i, name in enumerate(["a b", 'q"', "ü"])
    }
    nodes["s"] = NodeConfig(
        "us", wanted='groupwanted and include="*', groups=("g", 'h"'), external=("a b", "ü"), settings={"x y": "=\\'#"}
    )
    config = GatewayConfig("uuid", "gateway", 'a "cluster"', nodes, 3, {"g": "copies=1 and nothing"}, 5)
    config.save(tmp_path)
    assert GatewayConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('uuid = "x"', "is no gateway"),
        ('cluster = "c"', "no usable uuid"),
        ('cluster = "c"\nuuid = "x"\ngateway = 3', "no usable gateway"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"', "no usable url"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"\nurl = "/"\ncost = "1"', "cost of a node"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnodes = 3', "cannot use"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnumcopy = 2', "an unknown setting: numcopy"),
        ('cluster = "c"\nuuid = "x"\ngateway = "y"\nnumcopies = 0', "numcopies has to be a number, 1 or more"),
        *(
            (f'cluster = "c"\nuuid = "x"\ngateway = "y"\n[nodes.a]\nuuid = "z"\n{rest}', problem)
            for rest, problem in (
                ('url = "/"\nwantd = "nothing"', "node a has an unknown setting: wantd"),
                ('url = "/"\nwanted = "metadata=a"', "node a: metadata=a cannot be evaluated"),
                ('url = "/"\ngroups = "archive"', "groups has to be a list"),
                ('url = "/"\ntransfers = 0', "transfers has to be a number, 1 or more"),
                ('url = "/"\nexternal = ["x"]', "node a has both a url and a special remote"),
                ('external = ["x"]\nsettings = 3', "settings has to be a table"),
            )
        ),
        ("cluster", "cannot use"),
        ("\xff", "cannot use"),
    ],
)
def test_a_configuration_that_makes_no_sense(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "p2pannex.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(NotAGateway, match=problem) as caught:
        GatewayConfig.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_changes_at_the_same_time_are_both_kept(tmp_path: Path) -> None:
    """The second one waits, and begins with what the first one has written."""
    GatewayConfig("u", "g", "cluster").save(tmp_path)
    order: list[str] = []

    def add(name: str) -> None:
        def edit(config: GatewayConfig) -> GatewayConfig:
            order.append(f"{name} begins")
            if name == "first":
                other.start()
                other.join(0.3)
            order.append(f"{name} ends")
            return config.with_node(name, NodeConfig(f"u-{name}", f"/srv/{name}"))

        change(tmp_path, edit)

    other = threading.Thread(target=add, args=["second"])
    add("first")
    other.join()
    assert order == ["first begins", "first ends", "second begins", "second ends"]
    assert set(GatewayConfig.load(tmp_path).nodes) == {"first", "second"}


@pytest.mark.parametrize("there", ["a gateway", "a store", "a link that leads nowhere"])
def test_create_replaces_nothing(tmp_path: Path, there: str) -> None:
    config = tmp_path / "p2pannex.toml"
    if there == "a gateway":
        create(str(tmp_path), "first")
    elif there == "a store":
        config.write_text('uuid = "00000000-0000-4000-8000-000000000001"\n')
    else:
        config.symlink_to("nowhere")
    before = config.read_bytes() if config.exists() else None
    with pytest.raises(RemoteError, match="exists already"):
        create(str(tmp_path), "second")
    assert (config.read_bytes() if config.exists() else None) == before


def test_an_invalid_configuration_is_not_written(tmp_path: Path) -> None:
    GatewayConfig("u", "g", "cluster").save(tmp_path)
    before = (tmp_path / "p2pannex.toml").read_bytes()
    node = NodeConfig("u-a", "/srv/a", wanted="metadata=a")
    with pytest.raises(RemoteError, match="metadata=a"):
        change(tmp_path, lambda config: config.with_node("a", node))
    assert (tmp_path / "p2pannex.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"cost": 1.0}, True),
        ({"wanted": "nothing"}, True),
        ({"url": "/elsewhere"}, False),
        ({"uuid": "another"}, False),
        ({"timeout": 1.0}, False),
        ({"transfers": 1}, False),
        ({"settings": {"a": "b"}}, False),
    ],
)
def test_when_a_node_has_to_be_opened_anew(changes: dict[str, Any], alike: bool) -> None:
    node = NodeConfig("u", "/srv/a")
    assert attrs.evolve(node, **changes).opened_alike(node) is alike


def test_settings_of_special_remotes_are_not_shown() -> None:
    """They may be passwords."""
    assert "secret" not in repr(NodeConfig("u", external=("x",), settings={"password": "secret"}))
