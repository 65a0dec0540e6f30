"""A key and groups to judge expressions with."""

from __future__ import annotations

import hashlib

from p2pannex.keys.key import Key

KEY = Key("SHA256E-s100--" + hashlib.sha256(b"x").hexdigest())
GROUPS = {uuid: frozenset({"g"}) for uuid in ("u1", "u2", "u3")}
