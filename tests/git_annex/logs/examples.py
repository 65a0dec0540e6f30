"""A key, UUIDs of repositories, and times in logs."""

from __future__ import annotations

from hypothesis import strategies as st

from p2pannex.keys.key import Key

KEY = Key("SHA256E-s31390--f50d7ac4c6b9031379986bc362fcefb65f1e52621ce1708d537e740fefc59cc0.mp3")

A, B, C = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002", "c"

clocks = st.builds(
    lambda whole, decimals, s: (f"{whole}.{decimals}" if decimals else f"{whole}") + s,
    st.integers(0, 3) | st.integers(0, 2**70),
    st.text("0123456789", max_size=12),
    st.sampled_from(["s", ""]),
)
