"""A repository far away, as such are: slow, out of order, out of reach, dead at the nth byte.

`SimulatedNode` is a Service before another, a memory store unless told otherwise. All its waits are trio's, so that
under ``trio.testing.MockClock`` they cost nothing. What happens to it is in the attributes of `Conditions`, which may
be changed at any moment.
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
from p2pannex.service import AlreadyHave, Download, Lock, NotStored, Removal, Service, Stored, Upload
from p2pannex.stores.memory import MemoryStore
from p2pannex.testing.simulated_clock import SimulatedClock

P = ParamSpec("P")
T = TypeVar("T")

Report = Callable[[str, str], None]
"""Told the name of a node and what happened there."""


class Failing(Enum):
    """What a node does when its bytes are spent."""

    ERR = "errs"
    """It refuses everything, in words (`RemoteError`)."""
    DIE = "dies"
    """Every connection to it breaks (`ConnectionLost`)."""
    HANG = "hangs"
    """It takes nothing and gives nothing."""


@define
class Conditions:
    """How a node does. Times in seconds, speeds in bytes a second."""

    latency: float = 0.0
    """How long a request takes on its way to the node, and its answer on the way back."""
    bandwidth: float = math.inf
    """Of the line to the node, shared by all transfers."""
    disk: float = math.inf
    """How fast it writes content."""
    seek: float = 0.0
    """How long its disk takes before it does anything at all: answers, stores, removes."""
    failing: Failing | None = None
    """What becomes of it after `bytes_left`; None where nothing does."""
    bytes_left: float = math.inf
    """Bytes of content, in either direction, until it fails; below 0 it has failed before any request."""
    closing: float = 0.0
    """How long it takes to close an upload to it once it has failed."""
    loses_answer: bool = False
    """At its end it does what it was asked, and fails before it says so."""


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
        """How often it was asked what: the names of the methods of `Service`."""
        self.taken = 0
        """Bytes of content that arrived at it."""
        self._report = report
        self._line = trio.Lock()
        self._reachable = trio.Event()
        self._reachable.set()

    # What befalls it --------------------------------------------------------------------------------------------

    def fail(self, failing: Failing, after: float = -1) -> None:
        """Fail after so many more bytes of content; at once where that is below 0."""
        self.conditions.failing, self.conditions.bytes_left = failing, after

    def recover(self) -> None:
        """Be as if it had never failed. What hung before goes on hanging."""
        self.conditions.failing, self.conditions.bytes_left = None, math.inf

    def partition(self) -> None:
        """Nothing passes to or from it until `heal`; nothing breaks either."""
        if self._reachable.is_set():
            self._reachable = trio.Event()

    def heal(self) -> None:
        self._reachable.set()

    # What others say to it --------------------------------------------------------------------------------------

    def note(self, event: str) -> None:
        self._report(self.name, event)

    async def travel(self) -> None:
        """One way between the asker and the node."""
        await trio.sleep(self.conditions.latency)
        await self.pass_()

    async def pass_(self) -> None:
        """Wait out partitions and sleep; then show the failure if it is time for one."""
        while not self._reachable.is_set() or trio.current_time() < self.clock.awake_at:
            await self._reachable.wait()
            await trio.sleep_until(max(self.clock.awake_at, trio.current_time()))
        if self.conditions.bytes_left < 0:
            await self.show()

    async def show(self) -> None:
        """Fail, if it is to."""
        failing = self.conditions.failing
        if failing is None:
            return
        self.conditions.bytes_left = -1  # a node that failed has failed for everybody
        self.note(failing.value)
        if failing is Failing.HANG:
            await trio.sleep_forever()
        if failing is Failing.DIE:
            raise ConnectionLost(f"{self.name} died")
        raise RemoteError(f"{self.name} cannot do it")

    def allowance(self, size: int) -> int:
        """How many of so many bytes pass before it fails."""
        return size if self.conditions.failing is None else int(min(size, max(self.conditions.bytes_left, 0)))

    async def carry(self, size: int) -> None:
        """Let so many bytes of content pass over the line."""
        self.conditions.bytes_left -= size
        if size and self.conditions.bandwidth < math.inf:
            async with self._line:
                await trio.sleep(size / self.conditions.bandwidth)

    async def call(self, what: str, question: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """Ask the service behind it: there, and back again."""
        self.asked[what] = self.asked.get(what, 0) + 1
        await self.travel()
        await trio.sleep(self.conditions.seek)
        await self.pass_()
        answer = await question(*args, **named)
        self.note(f"{what}: {_said(answer)}")
        try:
            await self.travel()
        except BaseException:
            if isinstance(answer, Upload | Download | Lock):
                with trio.CancelScope(shield=True):
                    await answer.aclose()  # its connection is gone, which the node notices
            raise
        return answer

    async def finish(self, what: str, question: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        """The last question about content: where the bytes are spent, the node fails instead of answering, or after
        it has done it where it `loses_answer`."""
        spent = self.conditions.failing is not None and self.conditions.bytes_left <= 0
        if spent and not self.conditions.loses_answer:
            await self.show()
        answer = await self.call(what, question, *args, **named)
        if spent:
            await self.show()
        return answer

    # The shape --------------------------------------------------------------------------------------------------

    async def check_present(self, key: Key) -> bool:
        return await self.call("check_present", self.service.check_present, key)

    async def lock(self, key: Key) -> Lock | None:
        lock = await self.call("lock", self.service.lock, key)
        return lock and _SimulatedLock(self, lock)

    async def remove(self, key: Key, *, before: int | None = None) -> Removal:
        return await self.call("remove", self.service.remove, key, before=before)

    async def timestamp(self) -> int:
        return await self.call("timestamp", self.service.timestamp)

    async def put(self, key: Key, file: bytes | None = None) -> Upload | AlreadyHave:
        answer = await self.call("put", self.service.put, key, file)
        return _SimulatedUpload(self, answer) if isinstance(answer, Upload) else answer

    async def get(self, key: Key, *, offset: int = 0, file: bytes | None = None) -> Download:
        return _SimulatedDownload(self, await self.call("get", self.service.get, key, offset=offset, file=file))


def _said(answer: object) -> str:
    return type(answer).__name__ if isinstance(answer, Upload | Download | Lock) else repr(answer)


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

    async def begin(self, length: int) -> None:
        await self._node.pass_()
        await self._inner.begin(length)

    async def send_all(self, view: memoryview) -> None:
        node = self._node
        await node.pass_()
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
