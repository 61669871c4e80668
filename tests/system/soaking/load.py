"""`Load`: sends messages every way there is, as fast as they are accepted or at a given rate.

Stands on the bus and the logs. It reads from the store what it is to do, so that whoever takes the
place of a killed sender goes on as the others do.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

import ultrafast as uf
from system.soaking.ids import (
    DIRECT,
    GROUP,
    QUEUE,
    SPACE,
    AcceptedLog,
    body_of,
    number_of,
)
from ultrafast.bus.bus import UltraFastCommunicationBus

__all__ = ["BATCH", "GROUP_NAME", "QUEUE_NAME", "SUBJECT", "TTL_EVERY", "Load", "Order"]

QUEUE_NAME: Final = "soak"
GROUP_NAME: Final = "soakers"
SUBJECT: Final = "soak.group.work"

# A round of messages, by their way: most to agents, in one batch and one by one.
_MANY, _SINGLE, _QUEUED, _PUBLISHED = 20, 6, 4, 2
BATCH: Final = _MANY + _SINGLE + _QUEUED + _PUBLISHED
# Now and then one that must be handled within a millisecond, or become a dead letter.
TTL_EVERY: Final = 997
_TTL_S: Final = 0.001
_RETRY_S: Final = 0.001
# Of the four lanes: critical is rare.
_LANES: Final = (2, 3, 2, 1, 2, 3, 2, 2, 0, 2, 3, 2, 1, 2, 2, 3)


class Order(msgspec.Struct, frozen=True):
    """What the senders are to do.

    Attributes
    ----------
    kind : str
        "stop", "closed" (the next round when all of this one was accepted) or "open" (at a rate,
        whatever becomes of it).
    rate : float
        Messages a second of one sender.
    """

    kind: str
    rate: float = 0.0


class Load:
    """One sender.

    Parameters
    ----------
    bus : UltraFastCommunicationBus
    store : UltraFastMemoryStore
    sender_id : int or None
        The agent in whose name it sends.
    directory : str
        Of the logs.
    sinks : list of int
        The agents to send to; a message's number says which by its place in the list.
    """

    def __init__(
        self,
        bus: UltraFastCommunicationBus,
        store: uf.UltraFastMemoryStore,
        sender_id: int | None,
        directory: str,
        sinks: list[int],
    ) -> None:
        self._bus = bus
        self._store = store
        self._id = sender_id
        self._sinks = sinks
        self._number = store.incr(SPACE, "senders")
        self._log = AcceptedLog(directory, self._number)
        self._queue = bus.queue(QUEUE_NAME)
        self._count = 0
        self._round = 0

    async def run(self) -> None:
        """Do as ordered, until cancelled or killed."""
        order = Order("stop")
        due = time.monotonic()
        while True:
            latest = msgspec.convert(self._store.get(SPACE, "order"), Order)
            if latest != order:
                order, due = latest, time.monotonic()
                self._log.begin(self._count, self._count)  # all that was tried is written down
            if order.kind == "stop":
                await asyncio.sleep(0.02)
            elif order.kind == "closed":
                await self._send_round(order)
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += BATCH / order.rate
                await self._send_round(order)

    async def _send_round(self, order: Order) -> None:
        first = self._count
        self._round += 1
        self._log.begin(first, first + BATCH)
        accepted = await self._many(order)
        for way in (DIRECT,) * _SINGLE + (QUEUE,) * _QUEUED + (GROUP,) * _PUBLISHED:
            number = self._next(way)
            sent = await self._one(way, number)
            while not sent and order.kind == "closed" and self._goes_on(order):
                await asyncio.sleep(_RETRY_S)
                if way == GROUP:
                    break  # the group may have what another process had no room for
                sent = await self._one(way, number)
            if sent:
                accepted.append(number)
        self._log.accepted(accepted)

    def _goes_on(self, order: Order) -> bool:
        return msgspec.convert(self._store.get(SPACE, "order"), Order) == order

    def _next(self, way: int) -> int:
        count = self._count
        self._count += 1
        lane = _LANES[count % len(_LANES)]
        sink = (count * 7 + self._number) % len(self._sinks) if way == DIRECT else 0
        return number_of(self._number, way, lane, sink, count)

    async def _many(self, order: Order) -> list[int]:
        """A batch to agents, at one priority: those accepted."""
        lane = _LANES[self._round % len(_LANES)]
        numbers = []
        for _ in range(_MANY):
            count = self._count
            self._count += 1
            sink = (count * 3 + self._number) % len(self._sinks)
            numbers.append(number_of(self._number, DIRECT, lane, sink, count))
        left = numbers
        accepted: list[int] = []
        while left:
            items = [(self._sink(number), body_of(number)) for number in left]
            answers = self._bus.send_many_nowait(self._id, items, priority=lane)
            accepted += [n for n, sent in zip(left, answers, strict=True) if sent]
            left = [n for n, sent in zip(left, answers, strict=True) if not sent]
            if order.kind != "closed" or not left or not self._goes_on(order):
                break
            await asyncio.sleep(_RETRY_S)
        return accepted

    def _sink(self, number: int) -> int:
        return self._sinks[number >> 32 & 0x3FF]

    async def _one(self, way: int, number: int) -> bool:
        body: Any = body_of(number)
        lane = number >> 42 & 3
        if way == DIRECT:
            ttl_s = _TTL_S if number % TTL_EVERY == 0 else None
            return self._bus.send_nowait(
                self._id, self._sink(number), body, priority=lane, ttl_s=ttl_s
            )
        if way == QUEUE:
            return self._queue.put_nowait(body, priority=lane)
        return await self._bus.publish(SUBJECT, body, priority=lane)
