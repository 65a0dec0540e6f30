"""Checks that an object is a Service. All implementations can be run through them: stores, remotes, clusters.

In pytest, with one test for each check::

    import pytest
    from p2pannex.testing.services import SERVICE_CHECKS, check_service

    @pytest.mark.parametrize("check", SERVICE_CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check, tmp_path):
        await check_service(lambda: MyStore(tmp_path), checks=[check])

Without pytest, all checks at once: ``trio.run(check_service, MyStore)``.

Each check gets a service of its own, which must be empty. A check that fails raises AssertionError with the sentence of
the contract in `p2pannex.service` that does not hold. If a service does not support something and raises `Unsupported`,
that part of a check is skipped. For a service that cannot lock, whose `lock` always raises `NotLocked`, leave out the
checks in `LOCK_CHECKS`.
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
"""Asserts one thing about a service, which is empty at first."""

SERVICE_CHECKS: tuple[Check, ...] = (*CONTENT_CHECKS, *UPLOAD_CHECKS, *KEEPING_CHECKS)
"""All checks. The name and the docstring of each say what it asserts."""

LOCK_CHECKS: tuple[Check, ...] = _LOCK_CHECKS
"""The checks for which the service must be able to lock content."""


async def check_service(
    make: Callable[[], AbstractAsyncContextManager[Service]], *, checks: Iterable[Check] = SERVICE_CHECKS
) -> None:
    """Run the checks on a service. AssertionError if one fails.

    `make` is called once for each check. It returns an async context manager that yields an empty service.
    """
    for check in checks:
        failure: Exception | None = None
        async with make() as service:
            try:
                await check(service)
            except Exception as error:
                # Raised after the service was closed, so that closing cannot wrap the error in an exception group.
                error.add_note(f"in {check.__name__}: {check.__doc__}")
                failure = error
        if failure is not None:
            raise failure
