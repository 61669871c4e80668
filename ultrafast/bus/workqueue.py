"""`WorkQueue`: a named queue that any process of a system puts to and consumes from.

Stands on an `Endpoint` and the consumers; `WorkQueues` keeps those of a process. A queue ends with
its system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ultrafast import codec
from ultrafast.bus.consumer import Acknowledge, Buried, Consumer
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, lane_of, ttl_ms_of
from ultrafast.core import now_ns
from ultrafast.errors import InvalidArgument, NoSlot
from ultrafast.metric_names import Counter

__all__ = ["GROUPS", "NAMED", "WorkQueue", "WorkQueues"]

# What the region calls the queues that users name, and those of queue groups.
GROUPS: Final = "group-"
NAMED: Final = "queue-"
_NAME_BYTES_MAX: Final = 56


class WorkQueue:
    """A named queue; see `UltraFastCommunicationBus.queue`.

    Parameters
    ----------
    endpoint, name, index, consume
        Given by `UltraFastCommunicationBus.queue`.

    Attributes
    ----------
    name : str
    index : int
        The region's number for it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        index: int,
        consume: Callable[[str, int, Acknowledge], Consumer],
    ) -> None:
        self.name = name
        self.index = index
        self._endpoint = endpoint
        self._consume = consume

    def __len__(self) -> int:
        """Items that nobody has taken."""
        return self._endpoint.queues.length(self.index)

    def put_nowait(
        self,
        body: Any,
        *,
        priority: str | int = "normal",
        ttl_s: float | None = None,
        sender: int | None = None,
    ) -> bool:
        """Put an item, or be refused at once.

        Parameters
        ----------
        body : object
            Anything `ultrafast.codec` encodes.
        priority : str or int
        ttl_s : float, optional
            When no consumer comes to it in time it becomes a dead letter.
        sender : int, optional
            The agent that puts it.

        Returns
        -------
        bool
            False: the queue's lane is full, or the pool has no block.
        """
        payload, number = codec.encode(body)
        return self.post(
            int(Kind.WORK), lane_of(priority), payload, number, ttl_ms_of(ttl_s), sender
        )

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
        )
        self._endpoint.metrics.add(Counter.SENT)
        if not sent:
            self._endpoint.metrics.add(Counter.REFUSED)
        return sent

    def consume(self, max_batch: int = 32, *, acknowledge: Acknowledge = "auto") -> Consumer:
        """Take items; see `UltraFastCommunicationBus.consume`."""
        return self._consume(self.name, max_batch, acknowledge)


class WorkQueues:
    """The named queues that a process uses, and its consumers.

    Parameters
    ----------
    endpoint : Endpoint
    max_redeliveries : int
        How often an item may come again after its consumer's death.
    bury : callable
        Makes a message a dead letter: message, reason.
    """

    def __init__(self, endpoint: Endpoint, max_redeliveries: int, bury: Buried) -> None:
        self._endpoint = endpoint
        self._max_redeliveries = max_redeliveries
        self._bury = bury
        self._queues: dict[str, WorkQueue] = {}
        self._consumers: set[Consumer] = set()
        endpoint.at_stop(self._close)

    def queue(self, name: str) -> WorkQueue:
        """The queue that users know by this name."""
        queue = self._queues.get(name)
        if queue is None:
            if not 0 < len(name.encode()) <= _NAME_BYTES_MAX or not name.isprintable():
                raise InvalidArgument(
                    f"queue name {name!r} must be 1 to {_NAME_BYTES_MAX} bytes of printable text"
                )
            index = self.open(NAMED + name)
            queue = self._queues[name] = WorkQueue(self._endpoint, name, index, self.consume)
        return queue

    def open(self, name: str) -> int:
        """The region's queue of a name, made if there is none."""
        try:
            return self._endpoint.queues.open(name)
        except NoSlot as error:
            raise NoSlot(
                f"no room for another queue; raise Config(max_named_queues=...): {error}"
            ) from None

    def consume(self, name: str, max_batch: int, acknowledge: Acknowledge) -> Consumer:
        """A consumer of a named queue."""
        return self.consumer(self.queue(name).index, name, max_batch, acknowledge)

    def consumer(self, index: int, name: str, max_batch: int, acknowledge: Acknowledge) -> Consumer:
        """A consumer of any queue, closed when this process ends."""
        consumer = Consumer(
            self._endpoint,
            index,
            name,
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
