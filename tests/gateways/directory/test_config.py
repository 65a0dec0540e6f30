"""The configuration of a gateway directory: what is saved is loaded, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pannex.gateways.directory.cluster import (
    GatewayConfig,
    NodeConfig,
    NotAGateway,
)


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
