"""P2P networks: any network for which there is a program ``git-annex-p2p-NET`` (protocol-spec section 13.2).

A client runs the program with an address; the program's standard input and output are the stream. A server runs it with
the server's own address and the path of a unix socket; the program connects the clients of the network to that socket.

The server restarts the program if it ends. The program runs in its own process group: an interrupt at the terminal does
not reach it, so it continues to relay the requests that the server finishes before it stops.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator

import trio
from attrs import Attribute, field, frozen

from p2pannex.child_environment import child_environment
from p2pannex.errors import RemoteError
from p2pannex.transports.listeners import SocketListener, open_listeners
from p2pannex.transports.process import COMMAND_NOT_FOUND, GRACE, INSIST
from p2pannex.transports.sockets import UnixAddress
from p2pannex.transports.stderr_relay import StderrRelay

log = logging.getLogger(__name__)

SCHEME = "p2p-annex::"

PAUSE = 1.0
"""Seconds before a server's program that ended is started again. The pause doubles each time."""

LONGEST_PAUSE = 60.0

STEADY = 60.0
"""If the program ran for this many seconds before it ended, the pause is PAUSE again."""


def _check_net(_: object, __: Attribute[str], net: str) -> None:
    if not re.fullmatch("[a-z0-9-]+", net):  # it becomes the name of a program
        raise ValueError("the name of a P2P network consists of small letters, digits and -")


def _check_address(_: object, __: Attribute[str], address: str) -> None:
    if not address or "\0" in address or "\n" in address:
        raise ValueError("an address on a P2P network must be one line and not empty")
    if address == "address" or address.startswith("-"):
        raise ValueError(f"{address} is not an address: the network's program would take it for a command or an option")


@frozen
class NetworkAddress:
    """An address on a P2P network. ValueError for an invalid one."""

    net: str = field(validator=_check_net)
    address: str = field(validator=_check_address)

    def __str__(self) -> str:
        return f"{SCHEME}{self.net}:{self.address}"

    @property
    def program(self) -> str:
        """The name of the network's program, which is searched on the PATH."""
        return f"git-annex-p2p-{self.net}"


@contextlib.asynccontextmanager
async def network_listener(
    address: NetworkAddress, directory: str | bytes | os.PathLike[str] | None = None
) -> AsyncIterator[SocketListener]:
    """Listen at `address` during the block: the network's program connects the clients to the listener.

    The program runs in `directory`: for a git-annex repository the top directory, as with git-annex. If the program
    ends, it is started again after a pause. At the end of the block it is terminated and its socket is deleted.
    RemoteError if it cannot be run.
    """
    private = tempfile.mkdtemp(prefix="p2pannex-")
    try:
        path = os.path.join(private, "socket")
        (listener,) = await open_listeners(UnixAddress(path), relayed=True)
        listener.name = str(address)
        try:
            process = await _start(address, path, directory)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_running, address, path, directory, process)
                yield listener
                nursery.cancel_scope.cancel()
        finally:
            listener.close()
    finally:
        shutil.rmtree(private, ignore_errors=True)


async def _keep_running(
    address: NetworkAddress,
    path: str,
    directory: str | bytes | os.PathLike[str] | None,
    process: trio.Process | None,
) -> None:
    """Start the program again each time it ends, until cancelled; then terminate it.

    There is no checkpoint before `_until_it_ends`: otherwise a cancellation there would not terminate `process`.
    """
    pause, what = PAUSE, ""
    while True:
        since = trio.current_time()
        if process is not None:
            what = f"{address.program} {_how_it_ended(await _until_it_ends(process))}"
        if trio.current_time() - since >= STEADY:
            pause = PAUSE
        log.warning("%s: %s, clients cannot connect; starting it again in %g s", address, what, pause)
        await trio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            process = await _start(address, path, directory)
        except RemoteError as error:
            process, what = None, str(error)


async def _start(address: NetworkAddress, path: str, directory: str | bytes | os.PathLike[str] | None) -> trio.Process:
    try:
        with StderrRelay() as relay:
            return await trio.lowlevel.open_process(
                [address.program, address.address, path],
                stdin=subprocess.DEVNULL,
                stdout=relay.child_end,  # the server's own standard output shows the addresses where it listens
                stderr=relay.child_end,
                cwd=directory,
                env=child_environment(),
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise RemoteError(f"{address}: {address.program}: command not found") from error
    except OSError as error:
        raise RemoteError(f"{address}: {address.program} cannot be run: {error.strerror}") from error


async def _until_it_ends(process: trio.Process) -> int:
    """Wait for the program; its exit status. Cancellation terminates its process group, within a few seconds."""
    try:
        return await process.wait()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            for sign, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, INSIST)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                with trio.move_on_after(seconds):
                    await process.wait()
                    break
        raise


def _how_it_ended(status: int) -> str:
    if status == COMMAND_NOT_FOUND:
        return f"found no program (exit status {status})"
    return f"ended (exit status {status})" if status >= 0 else f"was killed by signal {-status}"


__all__ = ["SCHEME", "NetworkAddress", "network_listener"]
