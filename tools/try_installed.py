"""Run both programs of the installed package, and import every public name: the last step of `nox -s package`.

Started by the Python of an environment that has the package and what it depends on, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def run(*command: str, data: bytes = b"", output: bytes = b"") -> None:
    """Run a program of the environment; it must succeed, and print `output` somewhere."""
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=False, env=environment)
    if done.returncode or output not in done.stdout:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}")


def main() -> None:
    import p2pannex

    if not Path(p2pannex.__file__).is_relative_to(sys.prefix):
        sys.exit(f"this is not the installed package: {p2pannex.__file__}")
    for name in p2pannex.__all__:
        getattr(p2pannex, name)
    Path("file").write_bytes(b"content")
    run("p2pannex", "--version", output=b"p2pannex")
    run("p2pannex", "quickstart")
    run("p2pannex", "init", "store")
    for backend in ("SHA256E", "BLAKE3_256", "XXH3"):
        run("p2pannex", "put", "store", "file", "--backend", backend, output=backend.encode())
    serving = ["p2pstdio", os.path.abspath("store"), "11111111-2222-3333-4444-555555555555"]
    run("p2pannex-shell", "-c", " ".join(["git-annex-shell", *serving]), output=b"AUTH-SUCCESS")
    run("p2pannex", "conformance", "--", "p2pannex-shell", *serving)
    print(f"Python {sys.version.split()[0]}: both programs work")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # so that what is imported is what was installed
        main()
