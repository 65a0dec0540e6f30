"""Run cases: small programs that drive p2pannex from outside and import nothing of it. They are in ../shared/cases.

A case exits with 0 if it holds, 1 if it fails, and 77 if it cannot run on this machine. It takes the programs from
P2PANNEX_BIN, which here is the directory of the running Python. Cases are scripts for bash, or for Python if the name
or the first line says that. Two run at a time. Without names, those of SLOW are left out.

Exit status: 0 if no case fails, 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CASES = Path(os.environ.get("P2PANNEX_CASES", "../shared/cases"))

TIMEOUT = 900.0
"""Seconds for one case."""

SLOW = {
    "client-hashes-long",
    "lock-records-pile-up.py",
    "node-hashes-long",
    "one-hanging-node.py",
    "upload-resume-hashing",
    "wrong-answers-to-get.py",
}
"""Each takes between half a minute and five minutes."""

OUTCOMES = {0: "holds", 77: "cannot run here"}


def run(case: Path) -> bool:
    """Run one case and print its outcome. Whether it did not fail."""
    with open(case, errors="replace") as file:
        is_python = case.suffix == ".py" or "python" in file.readline()
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "P2PANNEX_BIN": str(programs),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin",  # Debian has sshd there
    }
    begin = time.monotonic()
    with subprocess.Popen(
        [sys.executable if is_python else "bash", case],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output = process.communicate(timeout=TIMEOUT)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output = f"no end after {TIMEOUT:.0f} s"
    outcome = OUTCOMES.get(process.returncode, "FAILS")
    print(f"{case.name}: {outcome} ({time.monotonic() - begin:.0f} s)", flush=True)
    if outcome == "FAILS":
        print(output, flush=True)
    return outcome != "FAILS"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="run the slow ones too")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these cases only")
    arguments = parser.parse_args()
    if not CASES.is_dir():
        print(f"there are no cases: {CASES.absolute()} does not exist")
        return 0
    files = [file for file in sorted([*CASES.iterdir(), *CASES.glob("security/*")]) if file.is_file()]
    cases = {file.name: file.absolute() for file in files if file.name not in ("README.md", "lib.sh")}
    unknown = set(arguments.names) - set(cases)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))} in {CASES}")
    chosen = arguments.names or [name for name in cases if arguments.all or name not in SLOW]
    with ThreadPoolExecutor(2) as pool:
        return 0 if all(list(pool.map(run, [cases[name] for name in chosen]))) else 1


if __name__ == "__main__":
    sys.exit(main())
