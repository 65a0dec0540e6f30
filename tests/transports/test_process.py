"""A child process as the far side: what its end is called, and that nothing of it is left behind."""

import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from p2pannex.errors import ConnectionLost
from p2pannex.keys.key import Key
from p2pannex.p2p.dial import open_process_peer
from p2pannex.p2p.remote import Remote, handshake
from p2pannex.p2p.stream_peer import StreamPeer
from p2pannex.protocol.messages import AuthSuccess, Version
from p2pannex.transports import pump
from p2pannex.transports.process import ProcessEnded, ProcessStream, Unreachable

UUID = "11111111-2222-4333-8444-555555555555"
# os.write: a print may be two writes, and the second may find the pipe closed.
GREETING = f"os.write(1, b'AUTH-SUCCESS {UUID}\\n'); "
VERSION = "assert sys.stdin.readline() == 'VERSION 4\\n'; os.write(1, b'VERSION 4\\n'); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, signal, sys, time; {code}"]


def process_of(peer: StreamPeer) -> trio.Process:
    assert isinstance(peer.stream, ProcessStream)
    return peer.stream.process


def is_gone(pid: int) -> bool:
    """Neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_that_serves_is_spoken_to_and_exits_at_the_end_of_its_input() -> None:
    code = GREETING + VERSION + "sys.exit(0 if sys.stdin.read() == '' else 9)"
    async with aclosing(await open_process_peer(python(code))) as peer:
        assert await handshake(peer) == UUID
        assert peer.conversation.version == 4
    assert process_of(peer).returncode == 0
    assert is_gone(process_of(peer).pid)


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("sys.exit(1)", "server: failed (exit status 1)", 1),
        ("sys.exit(127)", "server: command not found (exit status 127)", 127),
        ("sys.exit(0)", "server: ended without a reply", 0),
        ("os.kill(os.getpid(), signal.SIGTERM)", "server: was killed by signal SIGTERM", -signal.SIGTERM),
        ("os.close(1); sys.stdin.read()", "server: closed its output", None),
        ("print('no\\n  such thing', file=sys.stderr); sys.exit(3)", "exit status 3): no; such thing", 3),
        ("sys.exit(255)", "server: failed (exit status 255)", 255),
    ],
)
async def test_an_end_before_the_greeting_is_explained(code: str, message: str, status: int | None) -> None:
    async with aclosing(await open_process_peer(python(code), describe="server", capture_stderr=True)) as peer:
        with pytest.raises(ProcessEnded) as caught:
            await handshake(peer)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == status
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("greeting", ["", GREETING])
async def test_an_end_before_the_first_read_is_explained(greeting: str) -> None:
    async with aclosing(await open_process_peer(python(greeting + "sys.exit(3)"), describe="server")) as peer:
        await process_of(peer).wait()
        with pytest.raises(ProcessEnded, match=r"server: failed \(exit status 3\)"):
            await handshake(peer)


async def test_an_ordinary_end_before_the_first_read() -> None:
    async with aclosing(await open_process_peer(python(GREETING), describe="server")) as peer:
        await process_of(peer).wait()
        assert isinstance(peer.stream, ProcessStream)
        assert peer.stream.receive_nowait() == f"AUTH-SUCCESS {UUID}\n".encode()
        assert await peer.stream.receive_some() == b""


async def test_a_program_may_have_a_status_for_hosts_that_it_cannot_reach() -> None:
    code = "print('no route', file=sys.stderr); sys.exit(255)"
    peer = await open_process_peer(python(code), describe="example.org", unreachable_status=255, capture_stderr=True)
    async with aclosing(peer):
        with pytest.raises(Unreachable, match=r"^could not reach example.org \(exit status 255\): no route$"):
            await handshake(peer)


async def test_a_child_that_dies_in_the_middle_of_a_conversation_is_explained_too() -> None:
    code = GREETING + VERSION + "sys.stdin.readline(); print('disk on fire', file=sys.stderr); sys.exit(4)"
    async with await Remote.open(lambda: open_process_peer(python(code), describe="server", capture_stderr=True)) as it:
        with pytest.raises(ProcessEnded, match=r"^server: failed \(exit status 4\): disk on fire$"):
            await it.check_present(Key.parse(b"WORM--a"))


async def test_a_child_that_dies_in_the_middle_of_a_body_is_explained_too() -> None:
    code = GREETING + VERSION + "sys.stdin.readline(); os.write(1, b'DATA 1000\\nabc'); sys.exit(5)"
    async with await Remote.open(lambda: open_process_peer(python(code), describe="server")) as it:
        download = await it.get(Key.parse(b"WORM-s1000--a"))
        with pytest.raises(ProcessEnded, match="exit status 5"):
            await pump.move(download.length, download.readinto, _forget)
        await download.aclose()


async def _forget(view: memoryview) -> None:
    await trio.lowlevel.checkpoint()


async def test_a_child_that_hangs_up_in_good_order_has_not_failed() -> None:
    code = GREETING + VERSION + "sys.stdin.readline()"
    async with await Remote.open(lambda: open_process_peer(python(code))) as it:
        with pytest.raises(ConnectionLost, match="closed the connection") as caught:
            await it.check_present(Key.parse(b"WORM--a"))
    assert not isinstance(caught.value, ProcessEnded)


async def test_a_write_to_a_child_that_is_gone_is_explained() -> None:
    peer = await open_process_peer(python(GREETING + "sys.exit(6)"), describe="server")
    assert await peer.receive() == AuthSuccess(UUID)
    await process_of(peer).wait()
    with pytest.raises(ProcessEnded, match="exit status 6"):
        await peer.send(Version(4))
    await peer.aclose()


@pytest.mark.parametrize(
    ("name", "message"), [("nosuch", "nosuch: command not found"), ("plain", "plain: cannot be run: Permission denied")]
)
async def test_a_program_that_cannot_be_started(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "plain").write_text("not a program")
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(ProcessEnded, match=message):
        await open_process_peer([str(tmp_path / name)], capture_stderr=True)
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_standard_error_passes_through_unless_it_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    code = "print('for the user', file=sys.stderr); sys.exit(1)"
    async with aclosing(await open_process_peer(python(code))) as peer:
        with pytest.raises(ProcessEnded, match=r"exit status 1\)$"):
            await handshake(peer)
    assert capfd.readouterr().err == "for the user\n"
    async with aclosing(await open_process_peer(python(code), capture_stderr=True)) as peer:
        with pytest.raises(ProcessEnded, match="for the user"):
            await handshake(peer)
    assert capfd.readouterr().err == ""


async def test_a_talkative_child_neither_blocks_nor_fills_the_disk() -> None:
    code = (
        "\nfor _ in range(8):\n    os.write(2, b'x' * (1 << 20)); os.write(1, b'ERROR x\\n'); sys.stdin.readline()\n"
        "print('the end', file=sys.stderr); sys.exit(1)"
    )
    peer = await open_process_peer(python(code), capture_stderr=True)
    stream = peer.stream
    assert isinstance(stream, ProcessStream)
    for _ in range(8):
        assert await stream.receive_some() == b"ERROR x\n"
        assert stream._errors is not None
        assert os.fstat(stream._errors.fileno()).st_size <= 1 << 20
        await stream.send_all(b"\n")
    with pytest.raises(ProcessEnded, match="the end"):
        await stream.receive_some()
    await peer.aclose()


@pytest.mark.parametrize(
    ("code", "status"), [("", -signal.SIGTERM), ("signal.signal(signal.SIGTERM, signal.SIG_IGN); ", -signal.SIGKILL)]
)
async def test_a_child_that_stays_is_terminated_or_killed(
    monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    monkeypatch.setattr("p2pannex.transports.process.GRACE", 0.1)
    monkeypatch.setattr("p2pannex.transports.process.INSIST", 0.3)
    peer = await open_process_peer(python(code + GREETING + "time.sleep(1000)"))
    await peer.stream.receive_some()
    await peer.aclose()
    assert process_of(peer).returncode == status
    assert is_gone(process_of(peer).pid)


async def test_closing_while_cancelled_leaves_no_child_behind() -> None:
    peer = await open_process_peer(python(GREETING + "sys.stdin.read()"))
    await peer.stream.receive_some()
    with trio.CancelScope() as scope:
        scope.cancel()
        await peer.aclose()
    assert process_of(peer).returncode == 0
    assert is_gone(process_of(peer).pid)
    await peer.aclose()


async def test_cancelling_an_open_leaves_no_child_and_no_descriptor_behind(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    pids = tmp_path / "pids"
    code = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n'); sys.stdin.read()"  # and never greets
    with trio.move_on_after(50) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Remote.open, lambda: open_process_peer(python(code)))
            while not (pids.exists() and pids.read_text().endswith("\n")):  # noqa: ASYNC110 - by another process
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())
    assert sorted(os.listdir("/proc/self/fd")) == before
