"""The configuration file of a directory store, p2pannex.toml.

This module imports very little, because p2pannex-shell must send AUTH-SUCCESS within milliseconds of its start. So
`read_uuid` parses the line with the uuid itself if it has the usual form, and imports tomllib only if it has not.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

CONFIG = b"p2pannex.toml"

NO_STORE = "is not a p2pannex store; is its disk mounted?"
"""The error for a directory without a store. It does not advise to make one: in the empty mount point of a disk that is
not mounted, that would be a second store, and content would be stored on the wrong disk."""

CONFIG_MAX = 1 << 20
"""Bytes of the largest configuration that is read: thousands of nodes."""


def config_path(directory: bytes) -> bytes:
    """The path of the directory store's configuration."""
    return os.path.join(directory, CONFIG)


def read_config(directory: bytes) -> dict[str, object]:
    """The whole configuration. OSError if the file cannot be read, ValueError if it is not valid TOML, or too large."""
    import tomllib

    with _open_config(directory) as file:
        text = file.read(CONFIG_MAX + 1)
    if len(text) > CONFIG_MAX:
        raise ValueError(f"it has more than {CONFIG_MAX} bytes")
    try:
        return tomllib.loads(text.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_uuid(directory: bytes) -> str:
    """The UUID of a directory store. OSError if the file cannot be read, ValueError if it has no valid uuid."""
    with _open_config(directory) as file:
        text = file.read(65536)
    for line in text.splitlines():
        if line.startswith(b"["):
            break
        name, _, value = line.partition(b"=")
        value = value.strip()
        if name.strip() == b"uuid" and len(value) > 2 and value[:1] == value[-1:] == b'"' and b"\\" not in value:
            return checked_uuid(value[1:-1].decode())
    return checked_uuid(read_config(directory).get("uuid"))


def positive(config: Mapping[str, object], name: str, default: int) -> int:
    """A whole number from 1 to 10**9. ValueError if the value is another."""
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10**9:
        raise ValueError(f"{name} must be a whole number, at least 1")
    return value


def _open_config(directory: bytes) -> BinaryIO:
    """Open the configuration. FileNotFoundError also in the work tree of a git repository: a push, or the author of a
    cloned repository, may have put the file there. `p2pannex trust` allows it."""
    if os.path.lexists(os.path.join(directory, b".git")):
        from p2pannex.stores.trusted_directories import is_trusted

        if not is_trusted(directory):
            import errno

            raise FileNotFoundError(errno.ENOENT, "it is the work tree of a git repository; see: p2pannex trust --help")
    return open(config_path(directory), "rb")


def may_be_gateway(directory: bytes) -> bool:
    """Whether the configuration may have the key ``cluster``. If not, `is_gateway` is false."""
    try:
        with _open_config(directory) as file:
            text = file.read(CONFIG_MAX + 1)
    except OSError:
        return False
    return len(text) > CONFIG_MAX or b"cluster" in text or b"\\" in text


def checked_uuid(value: object) -> str:
    """`value`, if it can be a UUID: one word without quotes. ValueError otherwise."""
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value or '"' in value:
        raise ValueError("it has no usable uuid")
    return value


def new_uuid(given: str | None = None) -> str:
    """`given`, or a new UUID if it is None. RemoteError if `given` cannot be a UUID."""
    from uuid import uuid4

    from p2pannex.errors import RemoteError

    try:
        return checked_uuid(str(uuid4()) if given is None else given)
    except ValueError:
        raise RemoteError(f"{given!r} cannot be a uuid: a uuid has no spaces or quotes") from None


def is_gateway(directory: bytes) -> bool:
    """Whether the directory is the gateway of a cluster, not a store: its configuration has the key ``cluster``."""
    try:
        return "cluster" in read_config(directory)
    except (OSError, ValueError):
        return False  # opening it as a store will raise the error
