"""The tests of a module are found from its path: p2pannex/a/b.py has tests/a/test_b.py.

Where one file would be too long, there are several: tests/a/test_b_simulated.py beside it, or a folder tests/a/b/.
"""

from __future__ import annotations

from pathlib import Path, PurePath

ROOT = Path(__file__).parent.parent

OF_NO_MODULE = {
    "test_documents.py",
    "test_harmful_changes.py",
    "test_installation.py",
    "test_layering.py",
    "test_security.py",
    "test_tree.py",
}
"""Tests of the project as a whole."""

FOLDERS_OF_NO_MODULE = {"compat", "examples", "support"}
"""Tests with the real git-annex and OpenSSH, tests of examples/, and what tests of several folders use."""

TESTED_TOGETHER = {
    "cli/quickstart/test_command.py": "cli.quickstart.cluster_tour cli.quickstart.sandbox cli.quickstart.stores_tour",
    "cli/shell/test_session.py": "system.stdio",
    "cli/test_errors.py": "cli.exit_codes errors",
    "cli/test_measuring.py": (
        "testing.benchmarks.annex testing.benchmarks.client testing.benchmarks.cluster testing.benchmarks.stdio"
        " testing.benchmarks.throttled testing.conformance"
    ),
    "cluster/preferred/test_judge.py": "cluster.preferred.facts cluster.preferred.terms",
    "cluster/test_uploads_failing_simulated.py": "cluster.upload_target",
    "gateways/directory/test_config.py": "gateways.directory.toml_values",
    "gateways/directory/test_sizes.py": "stores.files.inventory",
    "gateways/repository/test_cluster.py": "gateways.repository.reading git_annex.branch.sizes",
    "git_annex/branch/test_branch.py": "git_annex.branch.blocking",
    "git_annex/branch/test_cat_file_too_large.py": "git_annex.branch.blobs",
    "git_annex/test_layout.py": "git_annex.sharing",
    "git_annex/logs/test_timed_log.py": (
        "git_annex.logs.cluster_log git_annex.logs.group_log git_annex.logs.maxsize_log git_annex.logs.numcopies_log"
        " git_annex.logs.proxy_log git_annex.logs.repository_log git_annex.logs.trust_log"
    ),
    "p2p/remote/test_put.py": "p2p.remote_transfers",
    "p2p/server/test_notifychange.py": "p2p.ref_changes",
    "p2p/test_peer.py": "p2p.stream_peer testing.pair",
    "protocol/test_conversation.py": "protocol.errors",
    "stores/external/test_program.py": "stores.external.stderr",
    "stores/files/test_objects.py": "stores.files.interfaces",
    "stores/files/test_retention.py": "stores.files.retention_record",
    "stores/files/test_uploads_hashing_behind.py": "stores.files.hashing",
    "stores/files/test_vouching.py": "stores.files.lookup",
    "test_service_conformance.py": (
        "testing.checks_of_content testing.checks_of_keeping testing.checks_of_uploads testing.samples testing.serving"
    ),
    "transfer/test_receiving_file.py": "transfer.file_work",
    "transfer/test_transfer_retrieve.py": "transfer.progress",
    "transfer/test_transfer_send.py": "transfer.errors transfer.sending_file transfer.steps",
    "transports/test_tls.py": "transports.connect_errors",
}
"""Test files, and the modules that they test beside the one that they are named after."""

MODULES = {
    path.relative_to(ROOT / "p2pannex").with_suffix("")
    for path in (ROOT / "p2pannex").rglob("*.py")
    if path.name != "__init__.py"
}
TEST_FILES = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}


def module_of(file: PurePath) -> PurePath | None:
    """The module that a test file is named after, or lies in the folder of."""
    name = file.stem.removeprefix("test_")
    named = [one for one in MODULES if one.parent == file.parent and f"{name}_".startswith(f"{one.name}_")]
    if named:
        return max(named, key=lambda one: len(one.name))
    return file.parent if file.parent in MODULES else None


def dotted(module: PurePath) -> str:
    return ".".join(module.parts)


FOUND = {dotted(module) for file in TEST_FILES if (module := module_of(file)) is not None}
TOGETHER = [module for modules in TESTED_TOGETHER.values() for module in modules.split()]


def test_a_test_file_is_named_after_a_module() -> None:
    of_modules = {
        file for file in TEST_FILES if str(file) not in OF_NO_MODULE and file.parts[0] not in FOLDERS_OF_NO_MODULE
    }
    assert not sorted(str(file) for file in of_modules if module_of(file) is None)


def test_a_module_has_a_test_file() -> None:
    """Or is in TESTED_TOGETHER."""
    assert not sorted(set(map(dotted, MODULES)) - FOUND - set(TOGETHER))


def test_what_is_tested_together() -> None:
    assert not [file for file in TESTED_TOGETHER if PurePath(file) not in TEST_FILES]
    assert len(TOGETHER) == len(set(TOGETHER))
    assert not set(TOGETHER) - set(map(dotted, MODULES)), "there are no such modules"
    assert not set(TOGETHER) & FOUND, "these have test files of their own"


def test_folders_are_packages() -> None:
    """Files in two folders may have the same name."""
    folders = {ROOT / "tests" / file.parent for file in TEST_FILES}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
