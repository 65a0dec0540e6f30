"""Settings of all tests."""

import signal

from hypothesis import settings

settings.register_profile("p2pannex", deadline=None)  # how long an example takes depends on what else the machine does
settings.load_profile("p2pannex")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and programs inherit it: the tests that interrupt one would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
