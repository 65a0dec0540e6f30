"""The settings that a special remote program may get and set: its configuration, credentials, states and urls.

git-annex keeps these in the git-annex branch and in its own directory. p2pannex keeps them in a directory of their own,
which other users cannot read::

    STATE_DIR/config.json     the configuration that the user gave, and what the program has changed in it
    STATE_DIR/creds.json      SETCREDS: users and passwords
    STATE_DIR/keys/SHA256     SETSTATE and SETURLPRESENT of the key with this SHA256
    STATE_DIR/wanted          SETWANTED

Each file is replaced atomically, has mode 600, and is on disk before the program gets the next line.

Error messages contain no passwords: `redact` removes them from the program's texts, and also the values of settings
whose names look like those of passwords.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping

from p2pannex.errors import RemoteError
from p2pannex.keys.key import InvalidKey, Key
from p2pannex.stores.external.messages import BadLine, urls_reply, words
from p2pannex.system.durability import replace_file

HIDDEN = "***"

SHORTEST_SECRET = 4
"""Characters of the shortest password that is removed from messages. Shorter ones would match parts of many words."""


_SECRET = re.compile("pass|secret|token", re.IGNORECASE)
"""Matches the names of settings whose values are treated as passwords."""


class Settings:
    """The settings in `state_dir`. Methods block while they read or write a small file. Call one at a time.

    `config` is the configuration that the user gave. `initialised`: whether the program has been initialised with
    exactly this configuration.
    """

    def __init__(self, state_dir: bytes, uuid: str, config: Mapping[str, str], *, name: str, git_dir: bytes) -> None:
        self._directory = state_dir
        self._uuid = uuid
        self._given = dict(config)
        self._name = name
        self._git_dir = git_dir
        os.makedirs(os.path.join(state_dir, b"keys"), mode=0o700, exist_ok=True)
        os.chmod(state_dir, 0o700)
        saved = self._read(b"config.json")
        self.initialised = bool(saved) and saved.get("given") == self._given
        self._config: dict[str, str] = {**self._given, **(saved["set"] if self.initialised else {})}
        self._creds: dict[str, list[str]] = self._read(b"creds.json")

    # Requests of the program ------------------------------------------------------------------------------------

    def handle(self, line: bytes) -> list[bytes] | None:
        """Handle a request of the program. Returns the lines to reply with; None if the line is not such a request."""
        verb = line.partition(b" ")[0]
        method = _HANDLERS.get(verb)
        return None if method is None else method(self, line[len(verb) + 1 :])

    def redact(self, message: str) -> str:
        """A message of the program, without the passwords that the program knows."""
        passwords = [password for _, password in self._creds.values()]
        passwords += [value for name, value in self._config.items() if _SECRET.search(name)]
        for password in passwords:
            if len(password) >= SHORTEST_SECRET:
                message = message.replace(password, HIDDEN)
        return message

    def save_config(self) -> None:
        """Save that the program was initialised with this configuration, and what it changed in it."""
        changed = {name: value for name, value in self._config.items() if self._given.get(name) != value}
        self._write(b"config.json", {"given": self._given, "set": changed})
        self.initialised = True

    def _get_config(self, name: bytes) -> list[bytes]:
        return [b"VALUE " + _bytes(self._config.get(_str(name), ""))]

    def _set_config(self, rest: bytes) -> list[bytes]:
        name, value = words(rest, 2)
        self._config[_str(name)] = _str(value)
        return []

    def _get_creds(self, name: bytes) -> list[bytes]:
        user, password = self._creds.get(_str(name), ("", ""))
        return [b"CREDS %b %b" % (_bytes(user), _bytes(password))]

    def _set_creds(self, rest: bytes) -> list[bytes]:
        name, user, password = words(rest, 3)
        self._creds[_str(name)] = [_str(user), _str(password)]
        self._write(b"creds.json", self._creds)
        return []

    def _dirhash(self, key: bytes) -> list[bytes]:
        return [b"VALUE %b/" % _key(key).hashdir_mixed]

    def _dirhash_lower(self, key: bytes) -> list[bytes]:
        return [b"VALUE %b/" % _key(key).hashdir_lower]

    def _get_uuid(self, _: bytes) -> list[bytes]:
        return [b"VALUE " + self._uuid.encode()]

    def _get_git_dir(self, _: bytes) -> list[bytes]:
        return [b"VALUE " + self._git_dir]

    def _get_name(self, _: bytes) -> list[bytes]:
        return [b"VALUE " + _bytes(self._name)]

    def _get_wanted(self, _: bytes) -> list[bytes]:
        return [b"VALUE " + _bytes(self._read(b"wanted").get("wanted", ""))]

    def _set_wanted(self, expression: bytes) -> list[bytes]:
        self._write(b"wanted", {"wanted": _str(expression)})
        return []

    def _get_state(self, key: bytes) -> list[bytes]:
        return [b"VALUE " + _bytes(self._of_key(key).get("state", ""))]

    def _set_state(self, rest: bytes) -> list[bytes]:
        key, value = words(rest, 2)
        return self._change(key, lambda known: known | {"state": _str(value)})

    def _get_urls(self, rest: bytes) -> list[bytes]:
        key, prefix = words(rest, 2)
        urls = [_bytes(url) for url in self._of_key(key).get("urls", [])]
        return list(urls_reply([url for url in urls if url.startswith(prefix)]))

    def _set_url_present(self, rest: bytes) -> list[bytes]:
        key, url = words(rest, 2)
        return self._change(key, lambda known: known | {"urls": sorted({*known.get("urls", []), _str(url)})})

    def _set_url_missing(self, rest: bytes) -> list[bytes]:
        key, url = words(rest, 2)
        return self._change(key, lambda known: known | {"urls": sorted({*known.get("urls", [])} - {_str(url)})})

    # Files ------------------------------------------------------------------------------------------------------

    def _of_key(self, key: bytes) -> dict:  # type: ignore[type-arg]
        return self._read(_key_file(key))

    def _change(self, key: bytes, change: Callable[[dict], dict]) -> list[bytes]:  # type: ignore[type-arg]
        name = _key_file(key)
        known = self._read(name)
        changed = change(known)
        if changed != known:
            self._write(name, changed)
        return []

    def _read(self, name: bytes) -> dict:  # type: ignore[type-arg]
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                content = json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            path = os.fsdecode(os.path.join(self._directory, name))
            raise RemoteError(f"{path} is damaged: it is not JSON; restore it from a backup") from error
        return content if isinstance(content, dict) else {}

    def _write(self, name: bytes, content: object) -> None:
        replace_file(os.path.join(self._directory, name), json.dumps(content).encode())


def _str(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape").replace(b"\n", b" ")


def _key(word: bytes) -> Key:
    try:
        return Key(word)
    except InvalidKey:
        raise BadLine("it sent an invalid key") from None


def _key_file(key: bytes) -> bytes:
    return b"keys/" + hashlib.sha256(_key(key).raw).hexdigest().encode()


_HANDLERS: dict[bytes, Callable[[Settings, bytes], list[bytes]]] = {
    b"GETCONFIG": Settings._get_config,
    b"SETCONFIG": Settings._set_config,
    b"GETCREDS": Settings._get_creds,
    b"SETCREDS": Settings._set_creds,
    b"DIRHASH": Settings._dirhash,
    b"DIRHASH-LOWER": Settings._dirhash_lower,
    b"GETUUID": Settings._get_uuid,
    b"GETGITDIR": Settings._get_git_dir,
    b"GETGITREMOTENAME": Settings._get_name,
    b"GETWANTED": Settings._get_wanted,
    b"SETWANTED": Settings._set_wanted,
    b"GETSTATE": Settings._get_state,
    b"SETSTATE": Settings._set_state,
    b"GETURLS": Settings._get_urls,
    b"SETURLPRESENT": Settings._set_url_present,
    b"SETURLMISSING": Settings._set_url_missing,
    b"SETURIPRESENT": Settings._set_url_present,
    b"SETURIMISSING": Settings._set_url_missing,
}
