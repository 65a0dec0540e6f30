"""CONNECT: run git-upload-pack or git-receive-pack over a stream (protocol-spec section 10.1).

The client chooses one of these two programs. It runs on the store's own repository: nothing else that the client sends
gets into the command line.
"""

from __future__ import annotations

import subprocess

import trio

from p2pannex.child_environment import git_environment
from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.git_annex.git import Git
from p2pannex.transports.stderr_relay import StderrRelay

PROGRAMS = {"git-upload-pack": "upload-pack", "git-receive-pack": "receive-pack"}
"""The programs that may be run: the name in CONNECT, and the git command for it."""

GRACE = 5.0
"""Seconds to wait, after the client has gone, for the program to exit before it gets SIGTERM, and then again before it
gets SIGKILL."""

KILLED = 128
"""The exit code of a program that a signal ended is this number plus the signal's, as in shells."""


async def connect(git: Git, program: str, stream: trio.abc.HalfCloseableStream) -> int:
    """Run the program with `stream` as its input and output until it exits. Returns its exit code.

    The end of `stream` is the end of the program's input. What it writes to standard
    error is shown on ours.

    Raises Unsupported if `program` is another one, and RemoteError if git cannot be run. If `stream` raises
    ConnectionLost or RemoteError, that is raised here too, after the program has been ended.
    """
    command = PROGRAMS.get(program)
    if command is None:
        raise Unsupported(f"{program} is not supported; only {' and '.join(PROGRAMS)} are")
    try:
        with StderrRelay() as relay:
            process = await trio.lowlevel.open_process(
                [b"git", command.encode(), git.git_dir],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=relay.child_end,
                env=git_environment(),
                cwd=git.git_dir,
            )
    except OSError as error:
        raise RemoteError(f"cannot run git: {error.strerror}") from error
    try:
        await _relay(process, stream)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)
            await relay.drain()
    status = process.returncode
    assert status is not None
    return status if status >= 0 else KILLED - status


async def _relay(process: trio.Process, stream: trio.abc.HalfCloseableStream) -> None:
    """Copy in both directions, until the program has closed its output."""
    failure: ConnectionLost | RemoteError | None = None
    program_in, program_out = process.stdin, process.stdout
    assert program_in is not None
    assert program_out is not None

    async def feed() -> None:
        nonlocal failure
        try:
            async for data in stream:
                await program_in.send_all(data)
            await program_in.aclose()
        except trio.BrokenResourceError:
            pass  # the program reads no more; its exit code tells why
        except (ConnectionLost, RemoteError) as error:
            failure = error
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        try:
            async for data in program_out:
                await stream.send_all(data)
        except (ConnectionLost, RemoteError) as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _end(process: trio.Process) -> None:
    """Close the program's pipes, and wait until it has exited. git aborts an unfinished push cleanly."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await pipe.aclose()
    for end_process in (process.terminate, process.kill):
        with trio.move_on_after(GRACE):
            await process.wait()
        if process.returncode is not None:
            return
        end_process()
    await process.wait()
