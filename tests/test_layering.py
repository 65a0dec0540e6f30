"""Who may import whom: read from the source of every module, function-level imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "p2pannex"

LAYERS = [
    ["keys", "verify", "protocol"],
    ["service", "peer", "pump", "carried", "transports"],
    [
        "stores",
        "branch",
        "pool",
        "greeting",
        "remote",
        "remote_transfers",
        "server",
        "tokens",
        "creds",
        "authenticate",
        "listen",
        "content_file",
        "progress",
        "transfer",
        "drop",
    ],
    ["cluster", "http", "keep"],
    [
        "urls",
        "url_syntax",
        "gateway_config",
        "gateway_directory",
        "gateway_repository",
        "gateway_sizes",
        "gateway_status",
        "toml_values",
    ],
    ["testing", "benchmarks"],
    ["cli"],
]
"""A module imports from its own layer and from those above it in this list. `testing` and `benchmarks` are published
programs of their own, which nothing but the command line knows."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

NEVER = {  # what is imported by these is nowhere in the first, also where the layers would allow it
    "p2pannex.protocol": {"trio", "os", "time", "socket", "io", "threading", "select", "asyncio", "logging"},
    "p2pannex.keys": {"trio", "attrs", "time"},
    "p2pannex.verify": {"trio", "attrs", "os", "time"},
    "p2pannex.stores": {"p2pannex.peer", "p2pannex.protocol.connection", "p2pannex.protocol.conversation"},
    "p2pannex.cluster": {"p2pannex.peer", "p2pannex.protocol.connection", "p2pannex.protocol.messages"},
    "p2pannex.http": {"p2pannex.stores"},
}

CORE = {"attrs", "trio"}
OPTIONAL = {"click": "p2pannex.cli", "rich": "p2pannex.cli", "blake3": "p2pannex.verify", "xxhash": "p2pannex.verify"}
"""Packages that need not be installed, and the only place that may ask for them."""


def modules() -> dict[str, Path]:
    return {
        ".".join(("p2pannex", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()


def imports(name: str) -> set[str]:
    """The modules that the module imports, anywhere in its source."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            assert node.module is not None
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module for module in inside if module in MODULES} or {node.module}
    return found


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer(module: str) -> int:
    name = module.split(".")[1]
    assert name in RANK, f"{module} is new: say in LAYERS of this test where it stands"
    return RANK[name]


def test_modules_are_found() -> None:
    assert "p2pannex.protocol.connection" in MODULES
    assert "p2pannex.stores.memory" in imports("p2pannex.testing.services") or "p2pannex.service" in MODULES
    assert "p2pannex.carried" in imports("p2pannex.server"), "imports inside of functions are seen"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "p2pannex"])
def test_layers(name: str) -> None:
    for other in imports(name):
        if other == "p2pannex":
            raise AssertionError(f"{name} imports the package's own front door")
        if is_in(other, "p2pannex"):
            assert layer(other) <= layer(name), f"{name} imports {other}, which stands above it"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "p2pannex"])
def test_what_is_never_imported(name: str) -> None:
    for package, forbidden in NEVER.items():
        if is_in(name, package):
            bad = {other for other in imports(name) if any(is_in(other, one) for one in forbidden)}
            assert not bad, f"{name} imports {bad}"


@pytest.mark.parametrize("name", MODULES)
def test_packages_that_need_not_be_installed(name: str) -> None:
    for other in imports(name):
        top = other.split(".")[0]
        if top in sys.stdlib_module_names or top in CORE or top == "p2pannex":
            continue
        if is_in(name, "p2pannex.testing") and top in {"pytest", "hypothesis"}:
            continue
        assert top in OPTIONAL, f"{name} imports {top}, which is no dependency"
        assert is_in(name, OPTIONAL[top]), f"{name} imports {top}, which is {OPTIONAL[top]}'s alone"


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    ).stdout


def test_the_protocol_does_not_load_trio() -> None:
    assert run("import p2pannex.protocol, sys; print('trio' in sys.modules)") == "False\n"


def test_the_core_needs_trio_and_attrs_only() -> None:
    """Every public name and every module of the core can be loaded where nothing else is installed."""
    core = [name for name in MODULES if not is_in(name, "p2pannex.cli") and not is_in(name, "p2pannex.testing")]
    program = f"""
        import importlib, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {{"click", "rich", "blake3", "xxhash", "pytest", "hypothesis", "trustme"}}:
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Absent())
        import p2pannex
        for name in getattr(p2pannex, "__all__", []):
            getattr(p2pannex, name)
        for name in {core!r}:
            importlib.import_module(name)
        print("loaded")
    """
    assert run(program) == "loaded\n"
