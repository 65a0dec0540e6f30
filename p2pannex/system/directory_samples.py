"""A bounded look into a directory that may have any number of files."""

from __future__ import annotations

import os
import random
from itertools import islice


def some_names(directory: bytes, listed: int, chosen: int) -> list[bytes]:
    """At most `chosen` names in the directory, chosen at random from the first `listed`, so that none is left out for
    ever by those who call this again and again. OSError if the directory cannot be read."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in islice(entries, listed)]
    return random.sample(names, min(len(names), chosen))
