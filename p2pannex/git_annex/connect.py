"""git's own programs on a repository, with a stream for their standard input and output (protocol-spec section 10.1).

The program is one of two, the repository the store's own: no word of a client's gets into the command line.
"""

from __future__ import annotations

import subprocess

import trio

from p2pannex.errors import ConnectionLost, RemoteError, Unsupported
from p2pannex.git_annex.git import Git, inherited

PROGRAMS = {"git-upload-pack": "upload-pack", "git-receive-pack": "receive-pack"}
"""What may be run, by the name that clients have for it, and git's command for it."""

GRACE = 5.0
"""Seconds that the program has to end when its client is gone, before it is terminated, and then again before it is
killed."""

KILLED = 128
"""Added to a signal's number, as shells do, for the exit code of a program that was ended by one."""


async def connect(git: Git, program: str, stream: trio.abc.HalfCloseableStream) -> int:
    """Run the program until it ends; its exit code. What it says on standard error goes to ours.

    The end of `stream` is the end of its input. Unsupported for another program, RemoteError where git cannot be
    run; ConnectionLost or RemoteError, as `stream` raises them, once the program was told to end.
    """
    command = PROGRAMS.get(program)
    if command is None:
        raise Unsupported(f"{program} is not run here, only {' and '.join(PROGRAMS)}")
    try:
        process = await trio.lowlevel.open_process(
            [b"git", command.encode(), git.git_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=inherited(),
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
    status = process.returncode
    assert status is not None
    return status if status >= 0 else KILLED - status


async def _relay(process: trio.Process, stream: trio.abc.HalfCloseableStream) -> None:
    """Both ways, until the program has closed its output."""
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
            pass  # it reads no more; how it ends, it says itself
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
    """Close what is open, and wait until the program is gone. git gives a push up cleanly when it is not finished."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await pipe.aclose()
    for insist in (process.terminate, process.kill):
        with trio.move_on_after(GRACE):
            await process.wait()
        if process.returncode is not None:
            return
        insist()
    await process.wait()
