"""A simulated remote repository, which can be slow, failing, unreachable, or dead after any number of bytes.

`SimulatedNode` passes requests on to another Service, by default a memory store. All its waits use trio's clock, so
that under ``trio.testing.MockClock`` they take no real time. The attributes of `Conditions` say how it behaves; they
may be changed at any moment.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import ParamSpec, TypeVar

import trio
from attrs import define

from p2pannex.errors import ConnectionLost, RemoteError
from p2pannex.keys.key import Key
from p2pannex.service import AlreadyHave, Download, Lock, NotLocked, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.simulated_clock import SimulatedClock

P = ParamSpec("P")
T = TypeVar("T")

Report = Callable[[str, str], None]
"""Called with the name of a node and what happened there."""


class Failing(Enum):
    """How a node fails after its last byte."""

    ERR = "errs"
    """It refuses every request (`RemoteError`)."""
    DIE = "dies"
    """Every connection to it breaks (`ConnectionLost`)."""
    HANG = "hangs"
    """It neither receives nor sends anything."""


@define
class Conditions:
    """How a node behaves. Times are in seconds, speeds in bytes a second."""

    latency: float = 0.0
    """The time that a request takes to the node, and that its reply takes back."""
    bandwidth: float = math.inf
    """The speed of the connection to the node, shared by all transfers."""
    disk: float = math.inf
    """The speed at which it writes content."""
    hashing: float = math.inf
    """The speed at which it hashes what an upload finds kept, before it takes the first byte."""
    seek: float = 0.0
    """The time that its disk takes for each request, before the request is done."""
    failing: Failing | None = None
    """How it fails after `bytes_left`; None if it does not fail."""
    bytes_left: float = math.inf
    """Bytes of content, in either direction, until it fails. Below 0 it fails before any request."""
    closing: float = 0.0
    """The time that closing an upload takes once the node has failed."""
    ending: float = 0.0
    """The time that it takes to give up a request to the node once it has failed, for example to kill its program."""
    loses_answer: bool = False
    """When it fails at the end of a transfer, it does finish the transfer, but its reply is lost."""


class SimulatedNode(Service):
    """`service`, by default an empty `MemoryStore` with `clock`, under `conditions`."""

    def __init__(
        self,
        name: str,
        *,
        service: Service | None = None,
        clock: SimulatedClock | None = None,
        conditions: Conditions | None = None,
        report: Report = lambda name, event: None,
    ) -> None:
        self.name = name
        self.clock = clock or SimulatedClock()
        self.store = MemoryStore(f"uuid-of-{name}", clock=self.clock)
        self.service = service or self.store
        self.uuid = self.service.uuid
        self.conditions = conditions or Conditions()
        self.asked: dict[str, int] = {}
        """How many requests it got, by the name of the method of `Service`."""
        self.taken = 0
        """Bytes of content that arrived at it."""
        self._report = report
        self._connection = trio.Lock()
        self._reachable = trio.Event()
        self._reachable.set()

    # Faults -----------------------------------------------------------------------------------------------------

    def fail(self, failing: Failing, after: float = -1) -> None:
        """Fail after `after` more bytes of content; immediately if that is below 0."""
        self.conditions.failing, self.conditions.bytes_left = failing, after

    def recover(self) -> None:
        """Stop failing. Requests that hang already keep hanging."""
        self.conditions.failing, self.conditions.bytes_left = None, math.inf

    def partition(self) -> None:
        """Let nothing pass to or from the node until `heal`. Connections do not break."""
        if self._reachable.is_set():
            self._reachable = trio.Event()

    def heal(self) -> None:
        self._reachable.set()

    # Requests under these conditions ----------------------------------------------------------------------------

    def note(self, event: str) -> None:
        self._report(self.name, event)

    async def travel(self) -> None:
        """Wait while a request or a reply passes between the client and the node."""
        await trio.sleep(self.conditions.latency)
        await self.pass_()

    async def pass_(self) -> None:
        """Wait until the node is reachable and awake; then fail if `bytes_left` is below 0."""
        while not self._reachable.is_set() or trio.current_time() < self.clock.awake_at:
            await self._reachable.wait()
            await trio.sleep_until(max(self.clock.awake_at, trio.current_time()))
        if self.conditions.bytes_left < 0:
            await self.show()

    async def show(self) -> None:
        """Fail as `Conditions.failing` says; do nothing if that is None."""
        failing = self.conditions.failing
        if failing is None:
            return
        self.conditions.bytes_left = -1  # from now on the node fails in all transfers
        self.note(failing.value)
        if failing is Failing.HANG:
            await trio.sleep_forever()
        if failing is Failing.DIE:
            raise ConnectionLost(f"{self.name} died")
        raise RemoteError(f"{self.name} refuses")

    def allowance(self, size: int) -> int:
        """How many of the next `size` bytes pass before the node fails."""
        return size if self.conditions.failing is None else int(min(size, max(self.conditions.bytes_left, 0)))

    async def carry(self, size: int) -> None:
        """Wait while `size` bytes of content pass over the connection."""
        self.conditions.bytes_left -= size
        if size and self.conditions.bandwidth < math.inf:
            async with self._connection:
                await trio.sleep(size / self.conditions.bandwidth)

    async def call(self, what: str, request: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Pass a request on to the service, with the delays and faults of its way there and back."""
        self.asked[what] = self.asked.get(what, 0) + 1
        await self.travel()
        await trio.sleep(self.conditions.seek)
        await self.pass_()
        reply = await request(*args, **named)
        self.note(f"{what}: {_shown(reply)}")
        try:
            await self.travel()
        except BaseException:
            if isinstance(reply, Upload | Download | Lock):
                with trio.CancelScope(shield=True):
                    await reply.aclose()  # the node notices that the connection is gone
            raise
        return reply

    async def finish(self, what: str, request: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Pass on the last request of a transfer. If no bytes are left, the node fails instead of doing it; with
        `Conditions.loses_answer`, after doing it."""
        spent = self.conditions.failing is not None and self.conditions.bytes_left <= 0
        if spent and not self.conditions.loses_answer:
            await self.show()
        reply = await self.call(what, request, *args, **named)
        if spent:
            await self.show()
        return reply

    async def request(self, what: str, request: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """`call`, for requests that begin something. Giving one up takes `Conditions.ending`."""
        try:
            return await self.call(what, request, *args, **named)
        except trio.Cancelled:
            if self.conditions.bytes_left < 0:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.conditions.ending)
            raise

    # Service ----------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        return await self.request("check_present", self.service.check_present, key)

    async def lock(self, key: Key) -> Lock:
        async def answer() -> Lock | NotLocked:
            try:
                return await self.service.lock(key)
            except NotLocked as error:
                return error  # a reply like any other: it travels back

        reply = await self.request("lock", answer)
        if isinstance(reply, NotLocked):
            raise reply
        return _SimulatedLock(self, reply)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        return await self.request("remove", self.service.remove, key, before=before)

    async def timestamp(self) -> int:
        return await self.request("timestamp", self.service.timestamp)

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        reply = await self.request("put", self.service.put, key, file)
        return _SimulatedUpload(self, reply) if isinstance(reply, Upload) else reply

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        return _SimulatedDownload(self, await self.request("get", self.service.get, key, offset=offset, file=file))


def _shown(reply: object) -> str:
    return type(reply).__name__ if isinstance(reply, Upload | Download | Lock) else repr(reply)


class _SimulatedLock(Lock):
    def __init__(self, node: SimulatedNode, inner: Lock) -> None:
        self._node = node
        self._inner = inner

    async def release(self) -> None:
        await self._node.call("release", self._inner.release)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _SimulatedUpload(Upload):
    def __init__(self, node: SimulatedNode, inner: Upload) -> None:
        self._node = node
        self._inner = inner
        self.offset = inner.offset
        self._to_hash = inner.offset

    async def begin(self, length: int) -> None:
        await self._node.pass_()
        await self._inner.begin(length)

    async def send_all(self, view: memoryview) -> None:
        node = self._node
        await node.pass_()
        to_hash, self._to_hash = self._to_hash, 0
        await trio.sleep(to_hash / node.conditions.hashing)
        passing = node.allowance(len(view))
        await node.carry(passing)
        if passing:
            await trio.sleep(passing / node.conditions.disk)
            await self._inner.send_all(view[:passing])
            node.taken += passing
        if passing < len(view):
            await node.show()

    async def finish(self, valid: bool) -> Stored | NotStored:
        return await self._node.finish("finish", self._inner.finish, valid)

    async def data_present(self) -> Stored | NotStored:
        return await self._node.finish("data_present", self._inner.data_present)

    async def aclose(self) -> None:
        try:
            if self._node.conditions.bytes_left < 0:
                await trio.sleep(self._node.conditions.closing)
        finally:
            with trio.CancelScope(shield=True):
                await self._inner.aclose()


class _SimulatedDownload(Download):
    def __init__(self, node: SimulatedNode, inner: Download) -> None:
        self._node = node
        self._inner = inner
        self._left = self.length = inner.length

    async def readinto(self, view: memoryview) -> int:
        node = self._node
        await node.pass_()
        passing = node.allowance(min(len(view), self._left))
        if passing < len(view) and passing < self._left and not passing:
            await node.show()
        count = await self._inner.readinto(view[:passing])
        await node.carry(count)
        self._left -= count
        return count

    async def valid(self) -> bool:
        return await self._node.finish("valid", self._inner.valid)

    async def finish(self, received: bool) -> None:
        await self._inner.finish(received)

    async def aclose(self) -> None:
        await self._inner.aclose()
