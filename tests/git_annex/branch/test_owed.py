"""How much is remembered of what could not be written to a location log."""

from __future__ import annotations

import pytest

from p2pannex.errors import RemoteError
from p2pannex.git_annex.branch.owed import OWED_MAX, check_owed


def test_requests_are_refused_while_too_much_is_remembered() -> None:
    check_owed(0, OWED_MAX)
    check_owed(OWED_MAX - 1, OWED_MAX)
    with pytest.raises(RemoteError, match="10000 changes could not be written to the location log yet"):
        check_owed(OWED_MAX, OWED_MAX)
