"""The exit codes of `p2pannex` and their meanings. ``p2pannex --help`` prints them as `TABLE`."""

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
    NO: "no, not present, or refused; this is an answer, not an error",
    USAGE: "the command line, a URL or a key is not valid",
    FAILED: "the repository could not do what was requested",
    UNREACHABLE: "no connection, or the connection was lost",
    WRONG_CONTENT: "the bytes that were received, or were to be sent, are not the content of the key",
    LOCAL_FILE: "a file on this machine cannot be read or written",
    INTERNAL: "a bug in p2pannex",
    NOT_EXECUTABLE: "`lock`: COMMAND cannot be run",
    NOT_FOUND: "`lock`: there is no COMMAND",
    INTERRUPTED: "interrupted; what has arrived is kept, and the same command continues from there",
    OUTPUT_CLOSED: "the program that read the output has closed it",
}

TABLE = "\n".join(
    [
        "Exit codes:",
        *[f"  {code:<4}{meaning}" for code, meaning in MEANINGS.items()],
        "",
        "If a command has several keys, the highest code counts. `lock` exits with the code of its COMMAND.",
    ]
)
