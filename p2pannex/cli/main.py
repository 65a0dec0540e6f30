"""The entry point of the program `p2pannex`. Its commands are defined in `p2pannex.cli.program`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        from p2pannex.cli.program import program
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        # p2pannex was installed without its dependencies. The library works without click, this program does not.
        sys.exit("p2pannex: the package click is missing; install it with: pip install click rich")
    except KeyboardInterrupt:
        sys.exit(130)
    program()


if __name__ == "__main__":
    main()
