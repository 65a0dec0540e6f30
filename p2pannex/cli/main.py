"""Where the command `p2pannex` starts. The rest is in `p2pannex.cli.program`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        from p2pannex.cli.program import program
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        # The library needs no click: who installed it alone has this program all the same.
        sys.exit("p2pannex: the command line needs more packages; install them with: pip install 'p2pannex[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    program()


if __name__ == "__main__":
    main()
