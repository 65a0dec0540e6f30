"""Which module may import which: read from the source of every module, imports inside functions included."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "p2pannex"

LAYERS = [
    "errors keys child_environment restrictions terminal",
    "protocol transports system",
    "service access url_syntax http1",
    "p2p p2phttp keep transfer git_annex server_tokens",
    "stores cluster",
    "gateways",
    "urls testing web",
    "resident",
    "cli __init__",
]
"""A module imports from its own folder, and from rows above its own; folders and files of one row do not import each
other. `http1`, `p2phttp`, `keep`, `web` and `resident` are not written yet: their places are kept for them."""

ROW = {name: row for row, names in enumerate(LAYERS) for name in names.split()}

NEVER = {
    "protocol keys": "trio os time socket io threading select asyncio logging",
    "transports http1": "p2pannex.protocol p2pannex.service",
    "service": "p2pannex.p2p p2pannex.transports",
    "stores cluster": (
        "p2pannex.protocol p2pannex.transports p2pannex.p2p p2pannex.http1 p2pannex.p2phttp p2pannex.keep"
    ),
    "cluster git_annex": "p2pannex.stores",
    "p2p p2phttp keep": "p2pannex.stores p2pannex.cluster p2pannex.gateways",
}
"""Folders or files, and what none of them imports."""

ONLY_FROM = {"p2pannex.urls": {"resident", "cli", "__init__"}, "p2pannex.testing": {"cli"}}
"""Modules, and the only folders or files outside their own that import them."""

CLUSTER_TAKES = ("p2pannex.git_annex.logs", "p2pannex.git_annex.values")
"""All that `cluster` imports of `git_annex`."""

CORE = {"attrs", "trio"}
PROGRAMS = {"click": "cli", "rich": "cli", "blake3": "keys", "xxhash": "keys"}
"""Packages that the library does without, and the only folder that imports each."""


def modules() -> dict[str, Path]:
    return {
        ".".join(("p2pannex", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()


def imports(name: str) -> set[str]:
    """The modules that the module imports, anywhere in its source, TYPE_CHECKING included."""
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


IMPORTS = {name: imports(name) for name in MODULES}


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def part(module: str) -> str:
    """The folder or file below p2pannex/ that the module is in."""
    return module.split(".")[1] if "." in module else "__init__"


def row(module: str) -> int:
    assert part(module) in ROW, f"{module} has no place yet: add it to LAYERS"
    return ROW[part(module)]


def inner(name: str) -> set[str]:
    """What the module imports of the package."""
    return {other for other in IMPORTS[name] if is_in(other, "p2pannex")}


def test_modules_are_found() -> None:
    assert "p2pannex.protocol.connection" in MODULES
    assert "p2pannex.p2p.tunnel" in IMPORTS["p2pannex.p2p.server"], "imports inside functions are seen"
    assert "p2pannex.keys.key" in IMPORTS["p2pannex"], "imports under TYPE_CHECKING are seen"


@pytest.mark.parametrize("name", MODULES)
def test_layers(name: str) -> None:
    for other in inner(name):
        assert other != "p2pannex", f"{name} imports the public names; import them from where they are defined"
        same = part(other) == part(name)
        assert same or row(other) < row(name), f"{name} imports {other}, which is not in a row above its own"


def test_no_circle() -> None:
    """At run time, in functions, and under TYPE_CHECKING alike. A package's ``__init__`` is a module as any other."""
    graph = {name: {other for other in inner(name) if other in MODULES} - {name} for name in MODULES}
    while leaves := [name for name, others in graph.items() if not others]:
        for name in leaves:
            del graph[name]
        for others in graph.values():
            others.difference_update(leaves)
    assert not graph, f"these import each other in a circle, or need one that does: {sorted(graph)}"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_never_imported(name: str) -> None:
    for parts, forbidden in NEVER.items():
        if part(name) in parts.split():
            bad = {other for other in IMPORTS[name] if any(is_in(other, one) for one in forbidden.split())}
            assert not bad, f"{name} imports {bad}"
    for module, allowed in ONLY_FROM.items():
        if part(name) not in allowed and not is_in(name, module):
            assert not {other for other in inner(name) if is_in(other, module)}, f"{name} imports {module}"
    if part(name) == "cluster":
        taken = {other for other in inner(name) if is_in(other, "p2pannex.git_annex")}
        bad = {other for other in taken if not any(is_in(other, one) for one in CLUSTER_TAKES)}
        assert not bad, f"{name} imports {bad}"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_not_of_the_core(name: str) -> None:
    for other in IMPORTS[name]:
        top = other.split(".")[0]
        if top in sys.stdlib_module_names or top in CORE or top == "p2pannex":
            continue
        if is_in(name, "p2pannex.testing") and top in {"pytest", "hypothesis"}:
            continue
        assert top in PROGRAMS, f"{name} imports {top}, which is no dependency"
        assert part(name) == PROGRAMS[top], f"{name} imports {top}, which only {PROGRAMS[top]} may"


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    ).stdout


def test_the_protocol_does_not_load_trio() -> None:
    assert run("import p2pannex.protocol, sys; print('trio' in sys.modules)") == "False\n"


def test_the_core_needs_trio_and_attrs_only() -> None:
    """Every public name and every module of the library can be loaded where nothing else is installed."""
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
