"""Log records on standard error: one line each, without what could command a terminal or look like another record."""

from __future__ import annotations

import logging

from p2pannex.terminal import safe_line, safe_lines


class LogLine(logging.Formatter):
    """The name of the program, and the message on one line. A traceback follows on lines of its own, indented."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self._program}: {safe_line(record.getMessage())}"
        if not record.exc_info:
            return line
        trace = safe_lines(self.formatException(record.exc_info))
        return line + "".join(f"\n    {each}" for each in trace.split("\n"))


def use(program: str) -> None:
    """Format the warnings that no handler takes; Python itself would print them as they are."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogLine(program))


def silence() -> None:
    """Print no log records of p2pannex: the command shows itself what would be logged."""
    logging.getLogger("p2pannex").addHandler(logging.NullHandler())


__all__ = ["LogLine", "silence", "use"]
