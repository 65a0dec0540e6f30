"""A program that serves the protocol on stdin and stdout, and misbehaves at one message.

Its arguments are UUID FAULT DIR. FAULT is one of these:

- ``hang-at-VERB``: it hangs when it gets this message. VERB is CONNECTION for the moment before its first message, and
  VALID for the end of an upload.
- ``length+N`` or ``length-N``: DATA announces N bytes too many or too few.
- ``none``.

It keeps content in files of DIR. It knows CHECKPRESENT, LOCKCONTENT, REMOVE, GET and PUT, at version 1. Each message
is noted in DIR.log.
"""

import hashlib
import sys
import time
from pathlib import Path


def main(uuid: str, fault: str, directory: str) -> None:
    lines, out = sys.stdin.buffer, sys.stdout.buffer

    def say(text: str) -> None:
        out.write(text.encode() + b"\n")
        out.flush()

    def got(verb: str) -> None:
        with open(directory + ".log", "a") as log:
            log.write(verb + "\n")
        if fault == f"hang-at-{verb}":
            time.sleep(3600)

    def path(key: bytes) -> Path:
        return Path(directory, hashlib.sha256(key).hexdigest())

    got("CONNECTION")
    say(f"AUTH-SUCCESS {uuid}")
    while line := lines.readline():
        verb, _, rest = line.rstrip(b"\n").partition(b" ")
        got(verb.decode())
        file = path(rest.rpartition(b" ")[2])
        if verb == b"VERSION":
            say("VERSION 1")
        elif verb == b"CHECKPRESENT":
            say("SUCCESS" if file.exists() else "FAILURE")
        elif verb == b"GET" and not file.exists():
            say("ERROR the content is not present")
        elif verb == b"GET":
            content = file.read_bytes()[int(rest.split(b" ")[0]) :]
            lie = int(fault.removeprefix("length")) if fault.startswith("length") else 0
            say(f"DATA {len(content) + lie}")
            out.write((content + bytes(max(lie, 0)))[: len(content) + lie])
            say("VALID")
            lines.readline()
        elif verb == b"PUT":
            say("PUT-FROM 0")
            data = lines.readline()
            got("DATA")
            content = lines.read(int(data.split()[1]))
            assert lines.readline() == b"VALID\n"
            got("VALID")
            file.write_bytes(content)
            say("SUCCESS")
        elif verb == b"LOCKCONTENT":
            say("SUCCESS" if file.exists() else "FAILURE")
        elif verb == b"UNLOCKCONTENT":
            pass
        elif verb == b"REMOVE":
            file.unlink(missing_ok=True)
            say("SUCCESS")
        else:
            say("ERROR unknown command")


if __name__ == "__main__":
    main(*sys.argv[1:])
