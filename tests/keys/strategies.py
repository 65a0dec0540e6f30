"""Backends, as they stand in keys."""

from hypothesis import strategies as st

HELLO_SHA256 = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

backends = st.sampled_from(["SHA256E", "SHA256", "WORM", "URL", "XFOO", "GITBUNDLE", "x y", "é", "S/%:&A", "\udcff"])
