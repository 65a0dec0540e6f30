"""The permissions that core.sharedRepository asks for."""

from __future__ import annotations

import os
import stat

from p2pannex.system.unsupported import chmod


class Sharing:
    """The permissions that core.sharedRepository asks for, as git-annex applies them."""

    def __init__(self, shared: str | None) -> None:
        self._mode: int | None = None
        self._extra = 0
        value = (shared or "false").lower()
        if value in ("group", "true", "1"):
            self._extra = 0o060
        elif value in ("all", "world", "everybody", "2"):
            self._extra = 0o064
        elif value not in ("umask", "false", "0", "no"):
            try:
                self._mode = int(value, 8) & 0o666
            except ValueError:
                self._extra = 0

    @property
    def shared(self) -> bool:
        return bool(self._extra or self._mode)

    @property
    def file_bits(self) -> int:
        """The permission bits that new files get in addition to those that the umask allows."""
        return self._mode or (0o600 | self._extra if self._extra else 0)

    def share(self, path: bytes) -> None:
        """`file` or `directory`, as it is one or the other."""
        if self.shared:
            (self.directory if os.path.isdir(path) else self.file)(path)

    def file(self, path: bytes) -> None:
        """Give a new file the permissions that core.sharedRepository asks for."""
        if self.shared:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            _change(path, mode, self._mode or mode | self._extra)

    def directory(self, path: bytes) -> None:
        """Give a new directory the permissions that core.sharedRepository asks for."""
        if self.shared:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            _change(path, mode, self._directory_mode(mode))

    def object_mode(self, mode: int) -> int:
        """The permissions of an object file. `mode` is what the umask gave it when it was made."""
        return (mode | self._extra) & 0o444 if self._mode is None else self._mode & 0o444

    def frozen_mode(self, mode: int) -> int:
        """The permissions of an object's directory while no program changes it.

        It is read-only, except for users who may write because of core.sharedRepository. `mode` is its present
        mode.
        """
        if self._extra:
            return self._directory_mode(mode) | 0o200
        return self._directory_mode(mode) & ~0o222 if self._mode is None else self._directory_mode(mode) & ~0o200

    def _directory_mode(self, mode: int) -> int:
        if not self.shared:
            return mode
        mode = mode | self._extra if self._mode is None else self._mode
        return mode | (mode & 0o444) >> 2 | stat.S_ISGID


def _change(path: bytes, mode: int, wanted: int) -> None:
    if mode != wanted:
        chmod(path, wanted)
