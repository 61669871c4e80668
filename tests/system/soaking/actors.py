"""The agents of the soak: sinks, takers of a named queue, members of a group, and senders.

Stands on `ids` for the logs. Each writes a message down before it is done with it. Told to by the
store, they leak: memory, blocks of the pool or entries of the store.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import ultrafast as uf
from system.soaking.ids import (
    RECEIVERS_MAX,
    SPACE,
    ReceivedLog,
    fault,
    is_whole,
    with_receiver,
)
from system.soaking.load import GROUP_NAME, QUEUE_NAME, Load
from ultrafast.bus.consumer import WorkItem
from ultrafast.bus.subscription import Publication

__all__ = ["TYPES", "Member", "Sink", "Source", "Taker", "rejects"]

# Some items of the queue can't be done, as it happens.
_REJECTED_EVERY: Final = 499
# Whoever is killed has something in hand: handlers that wait, items not yet acknowledged.
_SLOW_EVERY: Final = 53
_SLOW_S: Final = 0.003

_log: ReceivedLog | None = None
_leaked: list[Any] = []


def rejects(number: int) -> bool:
    """Whether takers reject an item."""
    return number % _REJECTED_EVERY == 0


class _Recorder(uf.Agent):
    """What all of them do."""

    index = -1

    def on_start(self) -> Any:
        global _log
        store = self.context.memory_store
        self.directory = str(store.get(SPACE, "directory"))
        self.leaks = frozenset(store.get(SPACE, "leaks"))
        if _log is None:
            _log = ReceivedLog(store, self.directory)
        self.log = _log

    def number_here(self) -> int:
        """The receiver's number in records: for an agent that nobody addresses, one of its own."""
        if self.index < 0:
            store = self.context.memory_store
            found = store.get(SPACE, f"agent-{self.id:x}")
            self.index = RECEIVERS_MAX - 1 if found is None else int(found)
        return self.index

    def leak(self, number: int) -> None:
        """Do what a fault would, when told to."""
        if "memory" in self.leaks:
            _leaked.append(bytes(4000))
        if "entries" in self.leaks and number % 8 == 0:
            self.context.memory_store.set("leaked", str(number), number)


class Sink(_Recorder):
    """Gets messages. Some take their time, and others wait in the mailbox meanwhile."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        number, pad = message.body
        if number >> 32 & (RECEIVERS_MAX - 1) != self.number_here():
            fault(self.directory, f"message {number:#x} came to sink {self.index}")
        if not is_whole(number, pad):
            fault(self.directory, f"message {number:#x} is not what was sent")
        self.log.received(number, message.redelivered)
        if self.leaks:
            self.leak(number)
        return asyncio.sleep(_SLOW_S) if number % _SLOW_EVERY == 0 else None


class _Worker(_Recorder):
    """Has something to do besides its messages."""

    def on_start(self) -> None:
        super().on_start()
        self.task = asyncio.get_running_loop().create_task(self._watched())

    async def _watched(self) -> None:
        try:
            await self.work()
        except Exception as error:
            fault(self.directory, f"{type(self).__name__}: {error!r}")
            raise

    async def work(self) -> None:
        raise NotImplementedError

    async def on_stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


class Taker(_Worker):
    """Takes items of the named queue, and acknowledges them."""

    async def work(self) -> None:
        async with self.context.consume(QUEUE_NAME, 32, acknowledge="manual") as consumer:
            while True:
                items = await consumer.batch()
                done = [item for item in items if not rejects(item.body[0])]
                records = [self._record(item) for item in done]
                if records:
                    self.log.received_many(records)
                await asyncio.sleep(_SLOW_S)
                for item in items:
                    if rejects(item.body[0]):
                        item.reject()
                    elif "blocks" in self.leaks and item.body[0] % 4:
                        _leaked.append(item)
                    else:
                        item.release()

    def _record(self, item: WorkItem) -> tuple[int, bool]:
        number, pad = item.body
        if not is_whole(number, pad):
            fault(self.directory, f"item {number:#x} is not what was put")
        return with_receiver(number, self.number_here()), item.redelivered


class Member(_Recorder):
    """Gets publications as a member of a group."""

    def on_start(self) -> None:
        super().on_start()
        self.context.subscribe("soak.group.*", self._got, queue_group=GROUP_NAME)

    def _got(self, publication: Publication) -> None:
        number, pad = publication.payload
        if not is_whole(number, pad):
            fault(self.directory, f"publication {number:#x} is not what was published")
        self.log.received(with_receiver(number, self.number_here()), publication.redelivered)


class Source(_Worker):
    """Sends, as the sending processes do."""

    async def work(self) -> None:
        store = self.context.memory_store
        sinks = list(store.get(SPACE, "sinks"))
        await Load(self.context.system.bus, store, self.id, self.directory, sinks).run()


TYPES: Final[dict[str, type[uf.Agent]]] = {
    "soak-sink": Sink,
    "soak-taker": Taker,
    "soak-member": Member,
    "soak-source": Source,
}
