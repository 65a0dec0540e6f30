"""What the exit codes of `p2pannex` mean: the one place where that is said. ``p2pannex --help`` prints this table."""

from __future__ import annotations

DONE = 0
NO = 1
USAGE = 2
FAILED = 3
UNREACHABLE = 4
WRONG_CONTENT = 5
LOCAL_FILE = 6
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERNAL = 70
INTERRUPTED = 130
OUTPUT_CLOSED = 141

MEANINGS = {
    DONE: "yes, or done",
    NO: "no, not there, or refused; nothing is wrong",
    USAGE: "the command line, a URL or a key makes no sense",
    FAILED: "the repository could not do what was asked",
    UNREACHABLE: "no connection, or it was lost",
    WRONG_CONTENT: "what was received, or was to be sent, is not the content of its key",
    LOCAL_FILE: "a file on this machine cannot be read or written",
    INTERNAL: "a bug in p2pannex",
    INTERRUPTED: "interrupted; what has arrived is kept, and the same command goes on from there",
    OUTPUT_CLOSED: "whoever read the output went away",
}

TABLE = "\n".join(
    [
        "Exit codes:",
        *[f"  {code:<4}{meaning}" for code, meaning in MEANINGS.items()],
        "",
        "Of several keys, the highest code counts. `lock` exits as its COMMAND does.",
    ]
)
