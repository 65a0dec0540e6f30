"""Is it a Service? A suite through which every implementation of the shape can be run: stores, remotes, clusters.

From pytest, a test for each check::

    import pytest
    from p2pannex.testing.services import SERVICE_CHECKS, check_service

    @pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check, tmp_path):
        await check_service(lambda: MyStore(tmp_path), checks=[check])

or all in one, without pytest: ``trio.run(check_service, MyStore)``.

`make` is called for each check, and must give a service that holds nothing. What a check finds wrong is an
AssertionError that says which sentence of the contract in `p2pannex.service` does not hold. Where a service cannot do
a thing at all, and says so with `Unsupported`, that part is left out. A service that can lock nothing, and whose `lock`
always gives None, is held to the checks that are not in `LOCK_CHECKS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager

from p2pannex.service import Service
from p2pannex.testing.checks_of_content import CONTENT_CHECKS
from p2pannex.testing.checks_of_keeping import KEEPING_CHECKS
from p2pannex.testing.checks_of_keeping import LOCK_CHECKS as _LOCK_CHECKS
from p2pannex.testing.checks_of_uploads import UPLOAD_CHECKS

Check = Callable[[Service], Awaitable[None]]
"""Takes a service that holds nothing, and asserts one thing of it."""

SERVICE_CHECKS: tuple[Check, ...] = (*CONTENT_CHECKS, *UPLOAD_CHECKS, *KEEPING_CHECKS)
"""Every check there is. The name and the docstring of each say what it holds services to."""

LOCK_CHECKS: tuple[Check, ...] = _LOCK_CHECKS
"""Those of them that need content to be locked."""


async def check_service(
    make: Callable[[], AbstractAsyncContextManager[Service]], *, checks: Iterable[Check] = SERVICE_CHECKS
) -> None:
    """Hold a service to its contract: AssertionError where it does not keep it.

    `make` gives, as an async context manager, a service that holds nothing: each check has one of its own.
    """
    for check in checks:
        failure: Exception | None = None
        async with make() as service:
            try:
                await check(service)
            except Exception as error:
                # Raised after the service was closed: not as a part of whatever its closing makes of it.
                error.add_note(f"in {check.__name__}: {check.__doc__}")
                failure = error
        if failure is not None:
            raise failure
