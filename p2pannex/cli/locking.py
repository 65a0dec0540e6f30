"""`p2pannex lock`: run a command while content is locked, so that it cannot be removed."""

from __future__ import annotations

import signal
from types import FrameType

import click

from p2pannex.child_environment import child_environment
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

    COMMAND gets standard input and output unchanged. When it has ended, whether it succeeded or not, the content is
    unlocked, and p2pannex exits with the exit code of COMMAND. If p2pannex is killed before that, the content stays
    locked until ten minutes after it was locked.

    If the content is not present or cannot be locked, COMMAND is not run, and the exit code is 1. Options come before
    URL.
    """
    import trio

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("COMMAND is missing")
    return trio.run(_lock, url, key, command, connection, output)


async def _lock(url: str, key: Key, command: tuple[str, ...], connection: ConnectionOptions, output: Output) -> int:
    from p2pannex.errors import ConnectionLost, RemoteError
    from p2pannex.service import NotLocked

    async with connection.open(url) as service:
        try:
            lock = await service.lock(key)
        except NotLocked as error:
            return output.problem(exit_codes.NO, f"{error}; COMMAND was not run", key=str(key), locked=False)
        try:
            code = await _run(command, output)
            # Unlock only after COMMAND has ended. If an error or an interrupt ends this function earlier, COMMAND may
            # still be running: the content then stays locked until the ten minutes of its lock are over.
            try:
                await lock.release()
            except (ConnectionLost, RemoteError) as error:
                output.problem(code, f"could not unlock {key}; the lock expires within ten minutes: {error}")
        finally:
            await lock.aclose()
        output.result(None, key=str(key), locked=True, command_exit_code=code)
        return code


async def _run(command: tuple[str, ...], output: Output) -> int:
    """Run the command. Returns the exit code that a shell would report: after a signal, 128 plus its number."""
    import trio

    # An interrupt at the terminal goes to the command as well. It is ignored here, and this function waits for the
    # command as before. It is not ignored with SIG_IGN, because the command would inherit that.
    before = signal.signal(signal.SIGINT, _ignore)
    try:
        process = await trio.lowlevel.open_process(list(command), env=child_environment())
        code = await process.wait()
    except FileNotFoundError:
        return output.problem(exit_codes.NOT_FOUND, f"{command[0]}: command not found")
    except OSError as error:
        return output.problem(exit_codes.NOT_EXECUTABLE, f"{command[0]}: cannot be run: {error.strerror}")
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
