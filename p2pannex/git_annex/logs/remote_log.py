"""remote.log: the configuration of special remotes, in words ``NAME=VALUE``. ``&32;`` stands for character 32.

UUID type=external externaltype=foo encryption=none name=cloud directory=/mnt/my&32;disk timestamp=TIMEs
"""

from __future__ import annotations

import re

from p2pannex.git_annex.logs.repository_log import parse_repository_log

_ESCAPED = re.compile(r"&([0-9]{1,7});")


def parse_remote_log(text: bytes) -> dict[str, dict[str, str]]:
    """The configuration of each special remote, by its uuid. Accepts any bytes."""
    remotes = {}
    for uuid, value in parse_repository_log(text).items():
        words = (word.partition("=") for word in value.split(" "))
        remotes[uuid] = {_plain(name): _plain(setting) for name, equals, setting in words if equals}
    return remotes


def _plain(word: str) -> str:
    return _ESCAPED.sub(_character, word)


def _character(match: re.Match[str]) -> str:
    number = int(match[1])
    # NULs and surrogates cannot be in paths, arguments or files. Such a reference stays as it is written.
    return chr(number) if 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else match[0]
