"""`Outpost`: the doors that a process sends and consumes through, whether it has an inbox or not.

Stands on the doors. An `Endpoint` is one with an inbox and a loop that empties it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ultrafast import codec as bodies
from ultrafast.bus import tracing
from ultrafast.bus.wire import first_correlation
from ultrafast.core import Message, Metrics, Queues, Region
from ultrafast.core._correlations import Correlations
from ultrafast.core._queue import ONCE, REDELIVERED
from ultrafast.core._status import DELETED, OK
from ultrafast.core._waiting import SPIN_US
from ultrafast.errors import QueueDeleted

__all__ = ["Outpost", "copy_of"]


def copy_of(message: Message) -> tuple[bytes, int]:
    """A message's payload for a message of its own, with what it shares, and the codec of that."""
    if not message.note:
        return message.tobytes(), message.codec
    subject = message.note.decode("utf-8", "replace")
    return bodies.publication(subject, message.payload, message.codec), bodies.PUBLICATION


class Outpost:
    """What a process sends through, and what it has to end when it leaves.

    Parameters
    ----------
    region : Region
        Attached; the outpost does not close it.
    spin_us : float
        The longest look of a wait before it sleeps.

    Notes
    -----
    Threads: `post` may be called from any thread of the process.
    """

    inbox = ""

    def __init__(self, region: Region, spin_us: float = SPIN_US) -> None:
        self.region = region
        self.queues = Queues(region)
        self.metrics = Metrics(region)
        self.spin_us = spin_us
        owner = region.owner(region.slot)
        self.correlations = Correlations(first_correlation(region.slot, owner.incarnation))
        # A number that no other message of the region carries.
        self.correlation = self.correlations.next
        self.closed = False
        self._at_stop: list[Callable[[], object]] = []

    def at_stop(self, callback: Callable[[], object]) -> None:
        """Have something done before this process takes no more messages."""
        self._at_stop.append(callback)

    def stop_using(self) -> None:
        """Do what was to be done before that. May be called twice."""
        callbacks, self._at_stop = self._at_stop, []
        for callback in callbacks:
            callback()
        self.closed = True

    def post(
        self,
        queue: int,
        lane: int,
        payload: Any,
        kind: int,
        codec: int = 0,
        sender: int = 0,
        receiver: int = 0,
        correlation: int = 0,
        sent_ns: int = 0,
        reply_queue: int = 0,
        flags: int = 0,
        extra: int = 0,
        trace: bytes | None = None,
        *,
        opening: int = 0,
    ) -> bool:
        """Put one message into a queue: whether it was accepted. Never waits.

        It carries the trace, or without one that which the caller is in. `opening` is what
        `Queues.enter` told: `QueueDeleted` when another queue is there, or none.
        """
        status = self.queues.send(
            queue,
            lane,
            payload,
            kind,
            codec,
            sender,
            receiver,
            correlation,
            sent_ns,
            reply_queue,
            flags,
            0,
            extra,
            trace or tracing.current(),
            opening,
        )
        return bool(status == OK)

    def pass_on(self, message: Message, queue: int, lane: int, opening: int = 0) -> bool:
        """Send a message on to a queue; while views of it live, a copy. False: it was refused."""
        try:
            return message.forward(queue, lane, opening) == OK
        except BufferError:
            payload, number = copy_of(message)
            status = self._send_copy(
                queue,
                lane,
                payload,
                message.kind,
                number,
                message.sender,
                message.receiver,
                message.correlation,
                message.sent_ns,
                message.reply_queue,
                message.flags & (ONCE | REDELIVERED),
                message.attempt,
                message.extra,
                message.trace,
                opening,
            )
            if status == OK:
                message.release()
            return bool(status == OK)

    def _send_copy(self, *message: Any) -> int:
        try:
            return self.queues.send(*message)
        except QueueDeleted:
            return DELETED

    async def post_within(self, timeout_s: float, *message: Any, opening: int = 0) -> bool:
        """`post`, tried again until it is accepted or the time is over."""
        if self.post(*message, opening=opening):
            return True
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        pause = 0.0002
        while loop.time() < until and not self.closed:
            await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
            pause = min(pause * 2, 0.01)
            if self.post(*message, opening=opening):
                return True
        return False
