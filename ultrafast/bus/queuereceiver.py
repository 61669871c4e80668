"""`QueueReceiver`: takes bodies from a named queue without an event loop, by one call each.

Stands on the plain doors, which pass bytes through by themselves. What they do not (other bodies,
a redelivery, an item with a time to live) is decided here as a `Consumer` decides it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from ultrafast import codec
from ultrafast.bus.outpost import Outpost
from ultrafast.bus.wire import Kind, Reason, is_overdue
from ultrafast.core import Message
from ultrafast.core._plainreceiver import SKIP, PlainReceiver
from ultrafast.errors import DecodeError
from ultrafast.metric_names import Counter

__all__ = ["QueueReceiver"]


class QueueReceiver(PlainReceiver):
    """Takes bodies from a named queue; made by `WorkQueue.receiver`.

    What a call handed out is acknowledged by the next, or by `done`: if this process is killed
    before, another consumer gets it again. As a context manager it is acknowledged when the block
    ends well, put back when it raises, and the receiver is closed.

    Parameters
    ----------
    endpoint, index, name, opening, max_batch, spin_us, max_redeliveries, bury
        Given by `WorkQueue.receiver`.

    Attributes
    ----------
    name : str
        Of the queue.

    Methods
    -------
    get(timeout_s=None)
        The next body; this thread waits for it. `Timeout` when none came in the time given.
    get_nowait(default=None)
        The next body, or `default` when there is none.
    get_many(max_items=None, timeout_s=None)
        Up to `max_items` bodies, `max_batch` of them if none is given; this thread waits until
        there is one. An empty list when none came in the time given.
    get_many_nowait(max_items=None)
        Up to `max_items` bodies that are there.
    done()
        What was handed out is done with. Also said by the next call.
    infos()
        An `ItemInfo` for each body that the last call handed out, until it is done with: `id`,
        `sender`, `priority`, `attempt`, `redelivered`, `sent_ns`.
    redelivered
        Whether the last call handed out anything that a killed consumer had before.

    Notes
    -----
    Threads: one at a time; each has its own receiver. Waits: `get` and `get_many`, looking for
    `spin_us` at most before they sleep. Order: of one sender and priority, as it was put; what is
    put back goes to the end. A loan comes as a read-only view of where it was written, which keeps
    its memory until the last view has gone. A body of None looks as nothing does to `get_nowait`;
    give it another `default`. When the queue is deleted, calls that ask for bodies raise
    `QueueDeleted`.
    """

    name: str

    def __init__(
        self,
        endpoint: Outpost,
        index: int,
        name: str,
        *,
        opening: int = 0,
        max_batch: int,
        spin_us: float | None,
        max_redeliveries: int,
        bury: Callable[[Message, Reason], None],
    ) -> None:
        self.name = name
        self._max_redeliveries = max_redeliveries
        self._bury = bury
        self._open(
            endpoint.queues,
            index,
            endpoint.metrics,
            max_batch=max_batch,
            kind=Kind.WORK,
            raw=codec.RAW,
            view=codec.VIEW,
            delivered=Counter.DELIVERED,
            redelivered=Counter.REDELIVERED,
            spin_us=endpoint.spin_us if spin_us is None else spin_us,
            opening=opening,
        )

    def _made(self, message: Message) -> Any:
        if is_overdue(message):
            self._bury(message, Reason.EXPIRED)
        elif message.attempt > self._max_redeliveries:
            self._bury(message, Reason.POISONOUS)
        else:
            try:
                return codec.decode(message.payload, message.codec, in_place=True)
            except DecodeError:
                self._bury(message, Reason.UNREADABLE)
        return SKIP

    def close(self) -> None:
        """Take no more; what is not done with goes back to the queue. May be called twice."""
        for message in self._leave():
            self._bury(message, Reason.QUEUE_CLOSED)

    def __enter__(self) -> QueueReceiver:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.done()
        self.close()
