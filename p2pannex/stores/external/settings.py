"""What a special remote program may ask for and set: its configuration, credentials, states and urls.

git-annex keeps these in the git-annex branch and in its own directory. Here they lie in a directory of their own, which
nobody else may read::

    STATE_DIR/config.json     what the remote was set up with, and what the program has set since
    STATE_DIR/creds.json      SETCREDS: users and passwords
    STATE_DIR/keys/SHA256     SETSTATE and SETURLPRESENT of the key of which this is the SHA256
    STATE_DIR/wanted          SETWANTED

Files are written whole, mode 600, and are on disk before the program hears of it. Passwords are in no error: `redact`
takes them, and settings that look like one by their name, out of whatever a program says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping

from p2pannex.errors import RemoteError
from p2pannex.keys.key import InvalidKey, Key
from p2pannex.stores.external.messages import BadLine, urls_answer, words
from p2pannex.system.durability import replace_file

HIDDEN = "***"

SHORTEST_SECRET = 4
"""Letters from which on a password is taken out of errors: shorter ones are parts of many words."""


_SECRET = re.compile("pass|secret|token", re.IGNORECASE)
"""What the names of settings have in them that are passwords."""


class Settings:
    """The settings in `state_dir`. Its methods block for the time that small files take; one at a time.

    `config` is what the user set the remote up with. `initialised` says whether the program has seen exactly this.
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

    # What is asked ----------------------------------------------------------------------------------------------

    def answer(self, line: bytes) -> list[bytes] | None:
        """The lines with which to answer what the program asked or set; None where it is none of these."""
        verb = line.partition(b" ")[0]
        method = _ANSWERS.get(verb)
        return None if method is None else method(self, line[len(verb) + 1 :])

    def redact(self, said: str) -> str:
        """What a program said, without the passwords that it has been given."""
        passwords = [password for _, password in self._creds.values()]
        passwords += [value for name, value in self._config.items() if _SECRET.search(name)]
        for password in passwords:
            if len(password) >= SHORTEST_SECRET:
                said = said.replace(password, HIDDEN)
        return said

    def save_config(self) -> None:
        """The program has been initialised with this configuration, and with what it set meanwhile."""
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
        return list(urls_answer([url for url in urls if url.startswith(prefix)]))

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
            raise RemoteError(f"the special remote's settings in {os.fsdecode(name)} are damaged") from error
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
        raise BadLine("it asked about something that is no key") from None


def _key_file(key: bytes) -> bytes:
    return b"keys/" + hashlib.sha256(_key(key).raw).hexdigest().encode()


_ANSWERS: dict[bytes, Callable[[Settings, bytes], list[bytes]]] = {
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
