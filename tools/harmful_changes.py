"""Make small harmful changes to the code, one at a time, and report which of them the tests notice.

Each change breaks one rule that the safety of content, or of secrets, rests on. The lists are in tools/harmful/*.toml:

    [[change]]
    rule = "A lock is durable before it is given."       # what the code must do
    file = "p2pannex/stores/files/retention.py"
    old = '''run_blocking(file_durable(fd))'''            # occurs exactly once in the file
    new = '''pass'''
    tests = ["tests/stores/files/test_retention.py"]     # optional: where to look first

`--check` only checks that each change still applies; the tests do that too. Without it, each change is made in a copy
of the tree, and the fast tests run until one fails: first `tests`, or else the file's own tests, then the tests of its
folder, then all. A change that hangs the tests counts as noticed.

Exit status: 0 if at least 95 % were noticed, 1 if not, 2 if a change does not apply.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tools" / "harmful"
GOAL = 0.95
TIMEOUT = 600.0
"""Seconds for one run of tests, by default. The longest, all fast tests, takes a quarter of that."""


@attrs.frozen(kw_only=True)
class Change:
    rule: str
    file: str
    old: str
    new: str
    tests: list[str] = attrs.field(factory=list)
    accepted: str = ""
    """Why no test can notice the change. It counts as missed all the same."""

    def problem(self) -> str | None:
        """Why the change cannot be made, if it cannot."""
        path = ROOT / self.file
        if not path.is_file():
            return f"{self.file} does not exist"
        text = path.read_text()
        count = text.count(self.old)
        if count != 1:
            return f"{self.file}: the old text occurs {count} times, not once"
        try:
            compile(text.replace(self.old, self.new), self.file, "exec")
        except SyntaxError as error:  # every test would notice that
            return f"{self.file}: with the new text, {error}"
        missing = [test for test in self.tests if not (ROOT / test.partition("::")[0]).exists()]
        if missing:
            return f"{missing[0]} does not exist"
        return None

    def stages(self) -> Iterator[list[str]]:
        """What to test, from the tests that probably notice the change to all of them."""
        folder, name = os.path.split(self.file.replace("p2pannex", "tests", 1))
        yield self.tests or sorted(glob(f"{folder}/test_{name.removesuffix('.py')}*.py", root_dir=ROOT))
        yield [folder] if (ROOT / folder).is_dir() else []
        yield ["tests"]


@attrs.frozen
class Result:
    change: Change
    noticed_by: str | None


def changes() -> list[Change]:
    """All changes of all lists, in the order of the lists."""
    return [
        Change(**entry)
        for path in sorted(LISTS.glob("*.toml"))
        for entry in tomllib.loads(path.read_text()).get("change", [])
    ]


def copy_tree(target: Path) -> None:
    """Copy what is in git, as it is in the work tree."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in names.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_tests(tree: Path, tests: list[str], timeout: float) -> str | None:
    """Run fast tests until one fails. The name of that test, or None if all pass."""
    everything = tests == ["tests"]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not compat", "-rfE"]
    command.append("--ignore=tests/test_harmful_changes.py")  # it would notice that the change was made
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*command, "-n2" if everything else "-n0", "--", *tests],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            output = process.communicate(timeout=timeout)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return "the tests hang"
    if process.returncode in (0, 5):  # 5: no tests were selected
        return None
    failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else f"pytest ended with status {process.returncode}: {output[-300:]}"


def try_change(change: Change, near: bool, timeout: float) -> Result:
    with tempfile.TemporaryDirectory(prefix="harmful-") as directory:
        tree = Path(directory)
        copy_tree(tree)
        path = tree / change.file
        path.write_text(path.read_text().replace(change.old, change.new))
        tried: list[str] = []
        for tests in list(change.stages())[: 2 if near else 3]:
            if tests and tests != tried:
                tried = tests
                noticed_by = run_tests(tree, tests, timeout)
                if noticed_by:
                    return Result(change, noticed_by)
    return Result(change, None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only check that each change applies")
    parser.add_argument("--near", action="store_true", help="only run `tests` and those of the file's folder")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="changes that are tried at the same time")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="for one run of tests")
    parser.add_argument("--json", metavar="FILE", help="write the results to this file, too")
    parser.add_argument("only", nargs="*", metavar="TEXT", help="only changes whose file or rule contains this text")
    arguments = parser.parse_args()

    every = changes()
    chosen = [
        change
        for change in every
        if not arguments.only or any(text in change.file + change.rule for text in arguments.only)
    ]
    problems = [problem for change in chosen if (problem := change.problem())]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 2
    if arguments.check:
        print(f"{len(chosen)} changes apply")
        return 0

    results = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for future in concurrent.futures.as_completed(
            [pool.submit(try_change, change, arguments.near, arguments.timeout) for change in chosen]
        ):
            result = future.result()
            results.append(result)
            print(
                f"{'noticed' if result.noticed_by else 'MISSED '}  {result.change.file}: {result.change.rule}", end=""
            )
            print(f"  ({result.noticed_by})" if result.noticed_by else "", flush=True)
    noticed = sum(result.noticed_by is not None for result in results)
    print(f"{noticed} of {len(results)} noticed, {noticed / max(len(results), 1):.1%}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([attrs.asdict(result) for result in results], indent=1) + "\n")
    return 0 if noticed >= GOAL * len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
