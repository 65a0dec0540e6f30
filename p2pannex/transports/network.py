"""P2P networks: any network for which there is a program ``git-annex-p2p-NET`` (protocol-spec section 13.2).

To connect, the program is run with an address, and its standard input and output are the stream. To be connected to,
it is run with our own address and the path of a unix socket, to which it brings whoever calls. It is somebody else's
program and may end at any time, so a listening one is kept running; it has a process group of its own, so that an
interrupt at the terminal does not cut off the requests that our server still finishes.
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

from p2pannex.errors import RemoteError
from p2pannex.transports.listeners import SocketListener, open_listeners
from p2pannex.transports.process import COMMAND_NOT_FOUND, GRACE, INSIST
from p2pannex.transports.sockets import UnixAddress

log = logging.getLogger(__name__)

SCHEME = "p2p-annex::"

PAUSE = 1.0
"""Seconds until a listening program that ended is started again; twice as many each time."""

LONGEST_PAUSE = 60.0

STEADY = 60.0
"""Seconds after which a program that ended has been running well: then the pauses begin anew."""


def _check_net(_: object, __: Attribute[str], net: str) -> None:
    if not re.fullmatch("[a-z0-9-]+", net):  # it becomes the name of a program
        raise ValueError("the name of a P2P network has small letters, digits and - in it, nothing else")


def _check_address(_: object, __: Attribute[str], address: str) -> None:
    if not address or "\0" in address or "\n" in address:
        raise ValueError("an address on a P2P network is not empty, and one line")
    if address == "address" or address.startswith("-"):
        raise ValueError(f"{address} is no address on a P2P network, but tells its program to do something else")


@frozen
class NetworkAddress:
    """An address on a P2P network. ValueError for what cannot be one."""

    net: str = field(validator=_check_net)
    address: str = field(validator=_check_address)

    def __str__(self) -> str:
        return f"{SCHEME}{self.net}:{self.address}"

    @property
    def program(self) -> str:
        """The name of the program that knows the network, looked for on the PATH."""
        return f"git-annex-p2p-{self.net}"


@contextlib.asynccontextmanager
async def network_listener(
    address: NetworkAddress, directory: str | bytes | os.PathLike[str] | None = None
) -> AsyncIterator[SocketListener]:
    """A listener to which the network's program brings those who call `address`, while the block is running.

    The program runs in `directory`, which for a git-annex repository is its top, where git-annex would run it. One
    that ends is started again after a while. At the end it is terminated, and its socket is gone. RemoteError where
    it cannot be run.
    """
    private = tempfile.mkdtemp(prefix="p2pannex-")
    try:
        path = os.path.join(private, "socket")
        (listener,) = await open_listeners(UnixAddress(path))
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
    """Until cancelled. The process is waited for at once, also where this is cancelled before it begins."""
    pause, what = PAUSE, ""
    while True:
        since = trio.current_time()
        if process is not None:
            what = f"{address.program} {_how_it_ended(await _until_it_ends(process))}"
        if trio.current_time() - since >= STEADY:
            pause = PAUSE
        log.warning("%s: %s, nobody can connect; starting it again in %g s", address, what, pause)
        await trio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            process = await _start(address, path, directory)
        except RemoteError as error:
            process, what = None, str(error)


async def _start(address: NetworkAddress, path: str, directory: str | bytes | os.PathLike[str] | None) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            [address.program, address.address, path],
            stdin=subprocess.DEVNULL,
            stdout=2,  # our own output tells where we listen
            cwd=directory,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise RemoteError(f"{address}: {address.program}: command not found") from error
    except OSError as error:
        raise RemoteError(f"{address}: {address.program} cannot be run: {error.strerror}") from error


async def _until_it_ends(process: trio.Process) -> int:
    """Its exit status. When this is cancelled, it and what it has started are terminated: in a few seconds at most."""
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
