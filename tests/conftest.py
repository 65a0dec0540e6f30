"""Settings of all tests."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("p2pannex", deadline=None)  # how long an example takes depends on what else the machine does
settings.load_profile("p2pannex")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and programs inherit it: the tests that interrupt one would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written to the configuration of the user who runs the tests, and nothing of p2pannex's read there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        yield
