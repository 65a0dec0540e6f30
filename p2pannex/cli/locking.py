"""`p2pannex lock`: run a command while content is kept from being removed."""

from __future__ import annotations

import signal
from types import FrameType

import click

from p2pannex.cli import exit_codes
from p2pannex.cli.options import KEY, URL, ConnectionOptions, connects, prints
from p2pannex.cli.output import Output
from p2pannex.keys.key import Key


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("url", type=URL)
@click.argument("key", type=KEY)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@connects
@prints
def lock(url: str, key: Key, command: tuple[str, ...], connection: ConnectionOptions, output: Output) -> int:
    """Run a command while content is locked.

    Exits as COMMAND does, which gets standard input and output as they are. The content is unlocked when COMMAND has
    ended, however it did. If p2pannex is killed before that, the content stays locked for ten minutes from when it was
    locked. Options go before URL. Exit code 1 is also that of content which is not there or cannot be locked; COMMAND
    is then not run.
    """
    import trio

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("which COMMAND?")
    return trio.run(_lock, url, key, command, connection, output)


async def _lock(url: str, key: Key, command: tuple[str, ...], connection: ConnectionOptions, output: Output) -> int:
    from p2pannex.errors import ConnectionLost, RemoteError

    async with connection.open(url) as service:
        lock = await service.lock(key)
        if lock is None:
            return output.problem(
                exit_codes.NO, f"{key} is not there, or cannot be locked; nothing was run", key=str(key), locked=False
            )
        try:
            code = await _run(command, output)
            # Only here: whatever else ends this leaves the content locked for its ten minutes, because COMMAND may be
            # running still.
            try:
                await lock.release()
            except (ConnectionLost, RemoteError) as error:
                output.problem(code, f"could not unlock {key}, which unlocks itself within ten minutes: {error}")
        finally:
            await lock.aclose()
        output.result(None, key=str(key), locked=True, command_exit_code=code)
        return code


async def _run(command: tuple[str, ...], output: Output) -> int:
    """Run the command; what a shell would give as its exit code."""
    import trio

    # An interrupt at the terminal is for the command, which gets it as well: when it ends, so do we. A handler, other
    # than SIG_IGN, is not passed on to it.
    before = signal.signal(signal.SIGINT, _leave_to_command)
    try:
        process = await trio.lowlevel.open_process(list(command))
        code = await process.wait()
    except FileNotFoundError:
        return output.problem(exit_codes.NOT_FOUND, f"{command[0]}: command not found")
    except OSError as error:
        return output.problem(exit_codes.NOT_EXECUTABLE, f"{command[0]}: cannot be run: {error.strerror}")
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _leave_to_command(number: int, frame: FrameType | None) -> None:
    pass
