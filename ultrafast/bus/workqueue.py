"""`WorkQueue`: a named queue that any process of a system puts to and consumes from.

Stands on an `Outpost`, the doors and the consumers; `WorkQueues` keeps those of a process. A queue
ends with its system, or when it is deleted: `deletion` says how.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from ultrafast import codec
from ultrafast.bus import tracing
from ultrafast.bus.consumer import Acknowledge, Buried, Consumer
from ultrafast.bus.deletion import empty_deleted
from ultrafast.bus.loans import exhausted
from ultrafast.bus.outpost import Outpost
from ultrafast.bus.queuereceiver import QueueReceiver
from ultrafast.bus.wire import Kind, lane_of, ttl_ms_of
from ultrafast.core import now_ns
from ultrafast.core._plainsender import PlainSender
from ultrafast.errors import InvalidArgument, NoSlot
from ultrafast.metric_names import Counter

__all__ = ["GROUPS", "NAMED", "PRIVATE", "WorkQueue", "WorkQueues"]

# What the region calls the queues that users name, and those of queue groups.
GROUPS: Final = "group-"
PRIVATE: Final = GROUPS + "only-"
NAMED: Final = "queue-"
_NAME_BYTES_MAX: Final = 56


class WorkQueue(PlainSender):
    """A named queue; see `UltraFastCommunicationBus.queue`.

    Parameters
    ----------
    endpoint, name, index, opening, consume, receive, bury
        Given by `UltraFastCommunicationBus.queue`.

    Attributes
    ----------
    name : str
    index : int
        The region's number for it.

    Methods
    -------
    put_nowait(body, *, priority="normal", ttl_s=None, sender=None)
        Put an item, or be refused at once: False when the queue's lane is full, or the pool has no
        block. `ttl_s`: when no consumer comes to it in time, it becomes a dead letter.
    put_many_nowait(bodies, *, priority="normal", ttl_s=None, sender=None)
        Put items in their order, as many as there is room for: how many. One that can't be encoded
        or is too large raises before anything is put.
    put_blocking(body, timeout_s=None, *, priority="normal", ttl_s=None, sender=None)
        `put_nowait`; while it is refused, this thread waits. For threads without a loop.
    put_many_blocking(bodies, timeout_s=None, *, priority="normal", ttl_s=None, sender=None)
        `put_many_nowait`; while one is refused, this thread waits. For threads without a loop.
    loan(nbytes, timeout_s=0.0)
        Memory to write an item into, with `Loan.write` or by its `view`, which is then put without
        a copy. While no block is free, this thread waits so long; then `PoolExhausted`.

    Notes
    -----
    Threads: any may put. Bytes take the shortest way: one call into the core an item, or a batch.
    """

    name: str

    def __init__(
        self,
        endpoint: Outpost,
        name: str,
        index: int,
        opening: int,
        consume: Callable[[WorkQueue, int, Acknowledge], Consumer],
        receive: Callable[[WorkQueue, int, float | None], QueueReceiver],
        bury: Buried,
    ) -> None:
        self.name = name
        self._endpoint = endpoint
        self._consume = consume
        self._receive = receive
        self._bury = bury
        self._open(
            endpoint.queues,
            index,
            endpoint.metrics,
            endpoint.correlations,
            lane=lane_of("normal"),
            kind=Kind.WORK,
            raw=codec.RAW,
            sent=Counter.SENT,
            refused=Counter.REFUSED,
            trace=tracing.current,
            view=codec.VIEW,
            spin_us=endpoint.spin_us,
            opening=opening,
        )

    def __len__(self) -> int:
        """Items that nobody has taken."""
        return self._endpoint.queues.length(self.index)

    # --- what the doors leave to us: bodies that are not bytes, and other than usual heads

    def _put(
        self,
        body: Any,
        priority: str | int,
        ttl_s: float | None,
        sender: int | None,
        timeout_s: float | None,
    ) -> bool:
        payload, number = codec.encode(body)
        lane, ttl_ms = lane_of(priority), ttl_ms_of(ttl_s)
        return self._post(payload, number, lane, ttl_ms, sender or 0, timeout_s)

    def _put_many(
        self,
        bodies: Sequence[Any],
        priority: str | int,
        ttl_s: float | None,
        sender: int | None,
        timeout_s: float | None,
    ) -> int:
        encoded = [codec.encode(body) for body in bodies]
        for payload, _ in encoded:
            self._check_size(len(payload))
        payloads = tuple(payload for payload, _ in encoded)
        numbers = tuple(number for _, number in encoded)
        lane, ttl_ms = lane_of(priority), ttl_ms_of(ttl_s)
        return self._post_many(payloads, numbers, lane, ttl_ms, sender or 0, timeout_s)

    def _exhausted(self, nbytes: int) -> Exception:
        return exhausted(self._endpoint.queues, nbytes)

    def post(
        self,
        kind: int,
        lane: int,
        payload: Any,
        number: int,
        ttl_ms: int,
        sender: int | None = None,
    ) -> bool:
        """Put what is encoded already."""
        endpoint = self._endpoint
        sent = endpoint.post(
            self.index,
            lane,
            payload,
            kind,
            number,
            sender or 0,
            0,
            endpoint.correlation(),
            now_ns(),
            extra=ttl_ms,
            opening=self.opening,
        )
        endpoint.metrics.add(Counter.SENT)
        if not sent:
            endpoint.metrics.add(Counter.REFUSED)
        return sent

    async def put(
        self,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> bool:
        """`put_nowait`; while it is refused, tried again for `timeout_s` at most."""
        payload, number = codec.encode(body)
        sent = await self._endpoint.post_within(
            timeout_s,
            self.index,
            lane_of(priority),
            payload,
            int(Kind.WORK),
            number,
            sender or 0,
            0,
            self._endpoint.correlation(),
            now_ns(),
            0,
            0,
            ttl_ms_of(ttl_s),
            opening=self.opening,
        )
        self._endpoint.metrics.add(Counter.SENT)
        if not sent:
            self._endpoint.metrics.add(Counter.REFUSED)
        return sent

    def consume(self, max_batch: int = 32, *, acknowledge: Acknowledge = "auto") -> Consumer:
        """Take items; see `UltraFastCommunicationBus.consume`."""
        return self._consume(self, max_batch, acknowledge)

    def delete(self) -> int:
        """Delete the queue, for every process.

        Whoever puts, consumes or gets by an object made before gets `QueueDeleted` from here on.
        The name is free: who names it makes another queue. Items that nobody has taken become dead
        letters with the reason `queue_deleted`, and so do those that a consumer puts back. What one
        has can be acknowledged as ever.

        Returns
        -------
        int
            Items that became dead letters.

        Raises
        ------
        QueueDeleted
            It was deleted before.

        Notes
        -----
        Cost: what making so many dead letters costs. The queue's place, one of `max_named_queues`,
        is free when no consumer has an item of it any more: at once, or within a second after that.
        """
        closing = self._endpoint.queues.delete(self.index, self.opening)
        return empty_deleted(self._endpoint.queues, self.index, closing, self._bury)

    def receiver(self, max_batch: int = 32, *, spin_us: float | None = None) -> QueueReceiver:
        """Take bodies, without an event loop; for one thread.

        Parameters
        ----------
        max_batch : int
            Items that `get` takes at once, up to 1024. Those that wait in this process for their
            turn are not for other consumers.
        spin_us : float, optional
            The longest look of a wait before it sleeps, 0 for none; else as the system's Config
            says.

        Returns
        -------
        QueueReceiver
            To be closed, or used in `with`.
        """
        return self._receive(self, max_batch, spin_us)


class WorkQueues:
    """The named queues that a process uses, and its consumers.

    Parameters
    ----------
    endpoint : Outpost
    max_redeliveries : int
        How often an item may come again after its consumer's death.
    bury : callable
        Makes a message a dead letter: message, reason.
    """

    def __init__(self, endpoint: Outpost, max_redeliveries: int, bury: Buried) -> None:
        self._endpoint = endpoint
        self._max_redeliveries = max_redeliveries
        self._bury = bury
        self._queues: dict[str, WorkQueue] = {}
        self._consumers: set[Consumer] = set()
        self._receivers: weakref.WeakSet[QueueReceiver] = weakref.WeakSet()
        endpoint.at_stop(self._close)

    def queue(self, name: str) -> WorkQueue:
        """The queue that users know by this name."""
        queue = self._queues.get(name)
        if queue is None or not self._stands(queue):
            if not 0 < len(name.encode()) <= _NAME_BYTES_MAX or not name.isprintable():
                raise InvalidArgument(
                    f"queue name {name!r} must be 1 to {_NAME_BYTES_MAX} bytes of printable text"
                )
            index, opening = self.open(NAMED + name)
            queue = WorkQueue(
                self._endpoint, name, index, opening, self.consume, self.receive, self._bury
            )
            self._queues[name] = queue
        return queue

    def _stands(self, queue: WorkQueue) -> bool:
        return self._endpoint.queues.stands(queue.index, queue.opening)

    def open(self, name: str) -> tuple[int, int]:
        """The region's queue of a name, made if there is none: its index and its opening."""
        try:
            return self._endpoint.queues.enter(name)
        except NoSlot as error:
            raise NoSlot(
                f"no room for another queue; raise Config(max_named_queues=...): {error}"
            ) from None

    def consume(self, queue: WorkQueue, max_batch: int, acknowledge: Acknowledge) -> Consumer:
        """A consumer of a named queue."""
        return self.consumer(queue.index, queue.name, queue.opening, max_batch, acknowledge)

    def receive(self, queue: WorkQueue, max_batch: int, spin_us: float | None) -> QueueReceiver:
        """A receiver of a named queue, closed when this process ends."""
        receiver = QueueReceiver(
            self._endpoint,
            queue.index,
            queue.name,
            opening=queue.opening,
            max_batch=max_batch,
            spin_us=spin_us,
            max_redeliveries=self._max_redeliveries,
            bury=self._bury,
        )
        self._receivers.add(receiver)
        return receiver

    def consumer(
        self, index: int, name: str, opening: int, max_batch: int, acknowledge: Acknowledge
    ) -> Consumer:
        """A consumer of any queue, closed when this process ends."""
        consumer = Consumer(
            self._endpoint,
            index,
            name,
            opening=opening,
            max_batch=max_batch,
            acknowledge=acknowledge,
            max_redeliveries=self._max_redeliveries,
            bury=self._bury,
            on_close=self._consumers.discard,
        )
        self._consumers.add(consumer)
        return consumer

    def _close(self) -> None:
        for consumer in list(self._consumers):
            consumer.close()
        for receiver in list(self._receivers):
            receiver.close()
