"""Backends, as they stand in keys."""

from hypothesis import strategies as st

backends = st.sampled_from(["SHA256E", "SHA256", "WORM", "URL", "XFOO", "GITBUNDLE", "x y", "é", "S/%:&A", "\udcff"])
