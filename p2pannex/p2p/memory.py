"""Two connected peers in one process: messages pass as objects, bodies as views. Nothing is serialized.

Both peers check messages against the same state table as any other peer. A gateway uses them between itself and a store
in the same process; tests use them if the bytes on the wire do not matter.
"""

from __future__ import annotations

import contextlib

import trio

from p2pannex.errors import ConnectionLost
from p2pannex.p2p.peer import PEER_TIMEOUT, Peer
from p2pannex.protocol.conversation import Conversation, Side, State, opening_state
from p2pannex.protocol.errors import LocalProtocolError, RemoteProtocolError
from p2pannex.protocol.messages import Message


class _Part:
    """A part of a body. The view belongs to the writer, which waits until the reader has set `taken`."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.taken = trio.Event()


_Item = Message | _Part


class MemoryPeer(Peer):
    """One end of a conversation within this process. Created by `memory_peers`."""

    def __init__(
        self,
        side: Side,
        state: State,
        outgoing: trio.MemorySendChannel[_Item],
        incoming: trio.MemoryReceiveChannel[_Item],
        timeout: float,
        closed: trio.Event,
        other_closed: trio.Event,
    ) -> None:
        super().__init__()
        self.timeout = timeout
        self.conversation = Conversation(side, state)
        self._queue: list[Message] = []
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = closed
        self._other_closed = other_closed
        self._part: _Part | None = None

    def queue(self, message: Message) -> None:
        self.conversation.sending(message)
        self._queue.append(message)

    async def flush(self) -> None:
        queue, self._queue = self._queue, []
        for message in queue:
            await self._put(message)

    async def _put(self, item: _Item) -> None:
        if self.poisoned:
            raise ConnectionLost("the connection was left in the middle of a message")
        try:
            with trio.move_on_after(self.patience):
                await self._outgoing.send(item)
                return
            raise ConnectionLost(f"the other side accepted nothing for {self.patience:g} s")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.poisoned = True
            raise ConnectionLost("the other side closed the connection") from error
        except BaseException:
            self.poisoned = True
            raise

    async def _take(self, timeout: float) -> _Item | None:
        try:
            with trio.move_on_after(timeout):
                return await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return None
        self.poisoned = True
        raise ConnectionLost(f"the other side sent nothing for {timeout:g} s")

    async def receive(self, timeout: float | None = None) -> Message | None:
        await self.flush()
        conversation = self.conversation
        if conversation.state is State.ENDED:
            return None
        if conversation.incoming or not conversation.their_turn:
            raise LocalProtocolError(f"receive() out of turn, in state {conversation.state.value}")
        item = await self._take(self.patience if timeout is None else timeout)
        if item is None:
            return None
        assert isinstance(item, Message)
        try:
            conversation.receiving(item)
        except RemoteProtocolError as error:
            self.poisoned |= error.reply is None
            raise
        return item

    async def wait_left(self) -> None:
        await self._other_closed.wait()

    def has_left(self) -> bool:
        return self._other_closed.is_set()

    async def read_body(self, view: memoryview) -> int:
        if not self.conversation.incoming:
            return 0
        if self._part is None:
            part = await self._take(self.patience)
            if part is None:
                self.poisoned = True
                missing = self.conversation.incoming
                raise ConnectionLost(f"the other side closed the connection with {missing} bytes still to come")
            assert isinstance(part, _Part)
            self._part = part
        part = self._part
        if part.taken.is_set():  # the writer was cancelled: the view must not be read any more
            self.poisoned = True
            raise ConnectionLost("the other side stopped in the middle of a body")
        count = min(len(view), len(part.view))
        view[:count] = part.view[:count]
        part.view = part.view[count:]
        if not part.view:
            part.taken.set()
            self._part = None
        self.conversation.body_received(count)
        return count

    async def write_body(self, view: memoryview) -> None:
        self.conversation.body_sent(len(view))
        if not view:
            return
        await self.flush()
        part = _Part(view)
        try:
            await self._put(part)
            with trio.move_on_after(self.patience):
                await part.taken.wait()
                return
            raise ConnectionLost(f"the other side accepted nothing for {self.patience:g} s")
        except BaseException:
            self.poisoned = True
            raise
        finally:
            part.taken.set()

    @property
    def reusable(self) -> bool:
        if not super().reusable or self._other_closed.is_set():
            return False
        return not self._incoming.statistics().current_buffer_used

    async def aclose(self) -> None:
        self.poisoned = True
        self._closed.set()
        if self._part is not None:
            self._part.taken.set()
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:  # let the writers of parts that will not be read continue
                item = self._incoming.receive_nowait()
                if isinstance(item, _Part):
                    item.taken.set()
        self._outgoing.close()
        self._incoming.close()
        await trio.lowlevel.checkpoint()


def memory_peers(*, authenticated: bool = True, timeout: float = PEER_TIMEOUT) -> tuple[MemoryPeer, MemoryPeer]:
    """A client's peer and a server's peer, connected to each other. `timeout`, in seconds, is that of both."""
    to_server, from_client = trio.open_memory_channel[_Item](8)
    to_client, from_server = trio.open_memory_channel[_Item](8)
    state = opening_state(authenticated=authenticated)
    client_closed, server_closed = trio.Event(), trio.Event()
    return (
        MemoryPeer(Side.CLIENT, state, to_server, from_server, timeout, client_closed, server_closed),
        MemoryPeer(Side.SERVER, state, to_client, from_client, timeout, server_closed, client_closed),
    )
