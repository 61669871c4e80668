"""`Consumer`: takes `WorkItem`s from a queue that several processes may empty.

Stands on an `Outpost`. Each item goes to one consumer, the first that is free. What a consumer has
is named after it until it is acknowledged: when its process dies, another gets it again. It decides
what becomes a dead letter, and leaves keeping those to who made it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal

from ultrafast import codec
from ultrafast.bus import tracing
from ultrafast.bus.outpost import Outpost
from ultrafast.bus.wire import Reason, is_overdue
from ultrafast.core import Message, Receiver
from ultrafast.errors import InvalidArgument, RegionClosed
from ultrafast.metric_names import Counter

__all__ = ["Acknowledge", "Buried", "Consumer", "WorkItem"]

# An idle consumer looks by itself so often, in case a consumer died between a bell and its message.
_LOOK_S: Final = 0.5
_FAR: Final = 1e9

Acknowledge = Literal["auto", "manual"]
Buried = Callable[[Message, Reason], None]


class WorkItem:
    """Something taken from a named queue. It is the consumer's until it is acknowledged.

    As a context manager it is released when the block ends well, and rejected when it raises.

    Parameters
    ----------
    message, consumer
        Given by the consumer.

    Attributes
    ----------
    body : object
        What was put. The bytes of a loan are a read-only memoryview, and large arrays lie in the
        region too: they keep their block, also after the item was released.
    sender : int
        An agent's id, or 0.
    id : int
        Unique over the system.
    priority : int
        The lane, 0 first.
    attempt : int
        Deliveries before this one, which deaths cut short.
    redelivered : bool
        A consumer died while it had the item: it may have been worked on before.
    sent_ns : int
        Intended send time, CLOCK_MONOTONIC.
    trace : bytes, optional
        The trace that it was put in, as it travels.
    """

    __slots__ = (
        "_consumer",
        "_message",
        "attempt",
        "body",
        "id",
        "priority",
        "redelivered",
        "sender",
        "sent_ns",
        "trace",
    )

    def __init__(self, message: Message, consumer: Consumer) -> None:
        self.body = codec.decode(message.payload, message.codec, in_place=True)
        self.sender = message.sender
        self.id = message.correlation
        self.priority = message.lane
        self.attempt = message.attempt
        self.redelivered = message.redelivered
        self.sent_ns = message.sent_ns
        self.trace = message.trace
        self._message = message
        self._consumer = consumer

    @property
    def note(self) -> bytes:
        """What it was sent with besides its body: a publication's subject, or nothing."""
        return self._message.note

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was put in; None outside any."""
        return tracing.text_of(self.trace)

    @property
    def released(self) -> bool:
        """Whether it was released, rejected or put back."""
        return self._message.released

    def release(self) -> None:
        """It is done. May be called twice."""
        if not self._message.released:
            self._consumer._done(self, self._message)

    def reject(self) -> None:
        """It can't be done: it becomes a dead letter with the reason `rejected`."""
        if not self._message.released:
            self._consumer._bury(self, self._message, Reason.REJECTED)

    def put_back(self) -> None:
        """Leave it to another consumer: it goes to the end of its lane."""
        if not self._message.released:
            self._consumer._return(self, self._message)

    async def __aenter__(self) -> WorkItem:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.release()
        elif issubclass(exc_type, Exception):
            self.reject()
        else:
            self.put_back()  # cancelled: nobody said that it can't be done

    def __repr__(self) -> str:
        return f"<WorkItem {self.id:#x}{' released' if self.released else ''}>"


class Consumer:
    """Takes items from a named queue: an async iterator of items, and `batch`.

    As an async context manager it is closed at the end of the block.

    Parameters
    ----------
    endpoint, index, name, opening, max_batch, acknowledge, max_redeliveries, bury, on_close
        Given by `UltraFastCommunicationBus.consume`.

    Attributes
    ----------
    name : str
        Of the queue.

    Notes
    -----
    Threads: the loop's. Waits: for an item. An item goes to the consumer that asks first; up to
    `max_batch` of them at once. Of a deleted queue every call raises `QueueDeleted`; what was given
    before can be acknowledged.
    """

    def __init__(
        self,
        endpoint: Outpost,
        index: int,
        name: str,
        *,
        opening: int = 0,
        max_batch: int,
        acknowledge: Acknowledge,
        max_redeliveries: int,
        bury: Buried,
        on_close: Callable[[Consumer], object],
    ) -> None:
        if not 1 <= max_batch <= 1024:
            raise InvalidArgument(f"max_batch is {max_batch}; allowed is 1 to 1024")
        if acknowledge not in ("auto", "manual"):
            raise InvalidArgument(f"acknowledge is {acknowledge!r}; allowed is 'auto', 'manual'")
        self.name = name
        self._endpoint = endpoint
        self._index = index
        self._opening = opening
        self._receiver = Receiver(endpoint.queues, index, 0, opening)
        # Its own descriptor: a loop watches each only once, and a process may have many consumers.
        self._fd = os.dup(self._receiver.fileno())
        self._max_batch = max_batch
        self._auto = acknowledge == "auto"
        self._max_redeliveries = max_redeliveries
        self._bury_letter = bury
        self._on_close = on_close
        self._turn = asyncio.Lock()
        self._ahead: deque[WorkItem] = deque()
        self._held: set[WorkItem] = set()
        self._given: list[WorkItem] = []
        self._sleeper: asyncio.Future[None] | None = None
        self._passed_on = False
        self._closed = False

    # --- what users call

    async def batch(
        self, max_items: int | None = None, *, timeout_s: float | None = None
    ) -> list[WorkItem]:
        """Up to `max_items` items, at least one; an empty list after `timeout_s` or the close.

        With ``acknowledge="auto"`` the items of the call before are released here.
        """
        self._acknowledge()
        most = self._max_batch if max_items is None else min(max_items, self._max_batch)
        async with self._turn:
            items = await self._wait(max(1, most), timeout_s)
        if self._auto:
            self._given = list(items)
        return items

    def batch_nowait(self, max_items: int | None = None) -> list[WorkItem]:
        """As `batch`, without waiting."""
        self._acknowledge()
        most = self._max_batch if max_items is None else min(max_items, self._max_batch)
        items = self._take(max(1, most))
        if self._auto:
            self._given = list(items)
        return items

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> WorkItem:
        self._acknowledge()
        if not self._ahead:
            async with self._turn:
                self._ahead.extend(await self._wait(self._max_batch, None))
        if not self._ahead:
            raise StopAsyncIteration
        item = self._ahead.popleft()
        if self._auto:
            self._given = [item]
        return item

    async def next(self, timeout_s: float) -> WorkItem:
        """The next item, or `TimeoutError`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self.__anext__()
        except StopAsyncIteration:
            raise RegionClosed(f"the consumer of {self.name!r} was closed") from None

    def stop(self) -> None:
        """Take no more; what was given to nobody yet goes back. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
        while self._ahead:
            self._ahead.popleft().put_back()
        os.close(self._fd)

    def close(self) -> None:
        """As `stop`, and what was not acknowledged goes back too. May be called twice."""
        self.stop()
        self._given.clear()
        for item in sorted(self._held, key=lambda item: item.sent_ns):
            item.put_back()
        self._on_close(self)

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self._acknowledge()
        self.close()

    # --- what items call

    def _done(self, item: WorkItem, message: Message) -> None:
        self._held.discard(item)
        metrics = self._endpoint.metrics
        metrics.add(Counter.DELIVERED)
        if message.redelivered:
            metrics.add(Counter.REDELIVERED)
        message.release()

    def _bury(self, item: WorkItem, message: Message, reason: Reason) -> None:
        self._held.discard(item)
        self._bury_letter(message, reason)

    def _return(self, item: WorkItem, message: Message) -> None:
        self._held.discard(item)
        if not self._endpoint.pass_on(message, self._index, message.lane, self._opening):
            gone = self._endpoint.queues.closing(self._index)
            self._bury_letter(message, Reason.QUEUE_DELETED if gone else Reason.QUEUE_CLOSED)

    # --- taking

    def _acknowledge(self) -> None:
        given, self._given = self._given, []
        for item in given:
            item.release()

    async def _wait(self, most: int, timeout_s: float | None) -> list[WorkItem]:
        loop = asyncio.get_running_loop()
        until = loop.time() + (_FAR if timeout_s is None else timeout_s)
        while not self._closed:
            items = self._take(most)
            left = until - loop.time()
            if items or left <= 0:
                return items
            await self._sleep(loop, min(left, _LOOK_S))
        return []

    def _take(self, most: int) -> list[WorkItem]:
        if self._closed:
            return []
        receiver = self._receiver
        items: list[WorkItem] = []
        while not items:
            messages = receiver.adopt(most) if receiver.has_orphans else []
            messages = messages or receiver.take(most)
            if not messages:
                return items
            for message in messages:
                if item := self._accepted(message):
                    items.append(item)
        self._held.update(items)
        # While this consumer works another may be idle, and the bell wakes only who armed it.
        if not self._passed_on and not receiver.arm_pipe():
            self._ring()
        return items

    def _accepted(self, message: Message) -> WorkItem | None:
        """The message as an item, unless it has become a dead letter."""
        if is_overdue(message):
            self._bury_letter(message, Reason.EXPIRED)
        elif message.attempt > self._max_redeliveries:
            self._bury_letter(message, Reason.POISONOUS)
        else:
            try:
                return WorkItem(message, self)
            except Exception:  # noqa: BLE001 - whatever a sender wrote must not stop the consumer
                self._bury_letter(message, Reason.UNREADABLE)
        return None

    def _ring(self) -> None:
        """Wake the other consumers of the queue, once until this one sleeps again."""
        self._passed_on = True
        try:
            os.write(self._fd, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of rings already

    async def _sleep(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._passed_on = False
        if not self._receiver.arm_pipe():
            return
        sleeper = self._sleeper = loop.create_future()

        def wake() -> None:
            if not sleeper.done():
                sleeper.set_result(None)

        loop.add_reader(self._fd, wake)
        timer = loop.call_later(timeout_s, wake)
        try:
            await sleeper
        finally:
            timer.cancel()
            loop.remove_reader(self._fd)
            self._sleeper = None
            if not self._closed:
                self._receiver.drain()
