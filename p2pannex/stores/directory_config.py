"""Whose directory this is: the configuration file of a directory store.

`read_uuid` imports next to nothing, because p2pannex-shell must say AUTH-SUCCESS within milliseconds of its start; it
reads the one line that it needs where that line is written plainly, and leaves everything else to tomllib.
"""

from __future__ import annotations

import os

CONFIG = b"p2pannex.toml"


def config_path(directory: bytes) -> bytes:
    """The path of the directory store's configuration."""
    return os.path.join(directory, CONFIG)


def read_config(directory: bytes) -> dict[str, object]:
    """The whole configuration. OSError where there is none, ValueError where it cannot be read."""
    import tomllib

    with open(config_path(directory), "rb") as file:
        return tomllib.load(file)


def read_uuid(directory: bytes) -> str:
    """The UUID of a directory store. OSError where it is none, ValueError where the file makes no sense."""
    with open(config_path(directory), "rb") as file:
        text = file.read(65536)
    for line in text.splitlines():
        if line.startswith(b"["):
            break
        name, _, value = line.partition(b"=")
        value = value.strip()
        if name.strip() == b"uuid" and len(value) > 2 and value[:1] == value[-1:] == b'"' and b"\\" not in value:
            return checked_uuid(value[1:-1].decode())
    return checked_uuid(read_config(directory).get("uuid"))


def checked_uuid(value: object) -> str:
    """`value` if a UUID can be that: a word of its own. ValueError otherwise."""
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value or '"' in value:
        raise ValueError("it has no usable uuid")
    return value


def new_uuid(given: str | None = None) -> str:
    """`given`, or a new one where nothing is. RemoteError for one that cannot be a UUID."""
    from uuid import uuid4

    from p2pannex.errors import RemoteError

    try:
        return checked_uuid(given or str(uuid4()))
    except ValueError:
        raise RemoteError(f"{given!r} cannot be a uuid: it is one word, without spaces or quotes") from None


def is_gateway(directory: bytes) -> bool:
    """Whether the directory is not a store, but the gateway of a cluster: its configuration names one."""
    try:
        return "cluster" in read_config(directory)
    except (OSError, ValueError):
        return False  # whoever opens it as a store says what is wrong
