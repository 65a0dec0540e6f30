"""What a child writes to standard error: shown at once, and made safe."""

from __future__ import annotations

import subprocess
import time

import pytest
import trio

from p2pannex.transports.process import open_process
from p2pannex.transports.stderr_relay import DRAIN, StderrRelay


async def relayed(command: str) -> None:
    stream = await open_process(["sh", "-c", command])
    await stream.aclose()


async def test_escape_sequences_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    await relayed(r"printf 'a\033]0;x\007\n\tb\r\n\302\233c\377\n' >&2")
    assert capfd.readouterr().err == "a\ufffd]0;x\ufffd\n b\n\ufffdc\ufffd\n"


async def test_all_is_shown_before_the_stream_is_closed(capfd: pytest.CaptureFixture[str]) -> None:
    await relayed("seq 100000 >&2")
    assert capfd.readouterr().err.splitlines()[-1] == "100000"


async def test_a_line_that_is_not_complete_is_shown_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """For example the request to touch a security key."""
    stream = await open_process(["sh", "-c", "printf 'touch it ' >&2; cat"])
    shown = ""
    with trio.fail_after(20):
        while "touch it " not in shown:
            await trio.sleep(0.01)
            shown += capfd.readouterr().err
    await stream.aclose()


async def test_a_character_in_two_parts(capfd: pytest.CaptureFixture[str]) -> None:
    await relayed(r"printf '\303' >&2; sleep 0.1; printf '\251' >&2")
    assert capfd.readouterr().err == "é"


async def test_another_process_keeps_the_pipe_open() -> None:
    """As a ControlMaster of ssh does: closing does not wait for it."""
    begun = time.monotonic()
    await relayed("sleep 20 <&- >&- & echo $! >&2")
    assert time.monotonic() - begun < 2 + DRAIN


def test_a_program_that_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError), StderrRelay() as relay:
        subprocess.run(["/no/such/program"], stderr=relay.child_end, check=False)
