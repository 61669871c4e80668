"""Queue groups: a publication goes to one member of each group that wants it.

Stands on the consumers and the directory. The members of a group that have one pattern empty one
queue of the region: who is free takes the next, and what a dead member had another gets again.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ultrafast.bus.consumer import WorkItem
from ultrafast.bus.directory import GROUP, Directory, Interest
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.subscription import Publication, Subscription
from ultrafast.bus.wire import Reason
from ultrafast.bus.workqueue import GROUPS, WorkQueues
from ultrafast.core import Message, Receiver
from ultrafast.metric_names import Counter

if TYPE_CHECKING:
    from ultrafast.bus.publications import Publications

__all__ = ["GroupKeeper", "Groups", "Membership"]

log = logging.getLogger(__name__)

# What waits for a group without members waits so long: a dead worker's successor joins by then.
_GRACE_S: Final = 10.0
_PRIVATE: Final = GROUPS + "only-"


class Membership(Subscription):
    """A subscription as a member of a queue group; `Subscription` says how it is used.

    Parameters
    ----------
    publications, queues, directory, pattern, callback, group, limit
        As `Groups.join` was given them.
    """

    def __init__(
        self,
        publications: Publications,
        queues: WorkQueues,
        directory: Directory,
        pattern: str,
        callback: Callable[[Publication], Any] | None,
        group: str,
        limit: int,
    ) -> None:
        super().__init__(publications, pattern, callback, 1, "drop-oldest")
        self.queue_group = group
        index = queues.open(_queue_name(group, pattern))
        self._directory = directory
        self._interest = Interest(GROUP, group, pattern, index, limit)
        acknowledge: Any = "auto" if callback is None else "manual"
        self._consumer = queues.consumer(index, group, 1, acknowledge)
        self._open = True
        try:
            directory.announce(self._interest)
        except BaseException:
            self._consumer.close()
            raise
        self._pump = None if callback is None else asyncio.ensure_future(self._call_all())

    def close(self) -> None:
        """Take no more; other members get what this one has not begun. May be called twice."""
        if not self._open:
            return
        self._open = False
        self._directory.withdraw(self._interest)
        self._consumer.stop()
        if self.under_way == 0:
            self._consumer.close()

    async def __aiter__(self) -> AsyncIterator[Publication]:
        async for item in self._consumer:
            yield self._publication(item)

    async def next(self, timeout_s: float) -> Publication:
        """The next publication, or `TimeoutError`; the one before is acknowledged by the call."""
        return self._publication(await self._consumer.next(timeout_s))

    def _publication(self, item: WorkItem) -> Publication:
        self.received += 1
        subject, payload = (item.note.decode(), item.body) if item.note else item.body
        return Publication(subject, payload, item.redelivered, item.trace)

    async def _call_all(self) -> None:
        async for item in self._consumer:
            self.under_way += 1
            try:
                awaitable = self.call(self._publication(item))
            except Exception as error:  # noqa: BLE001 - a user's code; reported, and others go on
                self._ended(item, error)
                continue
            if not inspect.isawaitable(awaitable):
                self._ended(item, None)
                continue
            await self._publications.handlers.acquire()
            self._publications.run(self._await(item, awaitable))

    async def _await(self, item: WorkItem, awaitable: Awaitable[Any]) -> None:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 - a user's code; reported, and others go on
            self._ended(item, error)
        else:
            self._ended(item, None)
        finally:
            self._publications.handlers.release()

    def _ended(self, item: WorkItem, error: Exception | None) -> None:
        if error is not None:
            log.error("a subscriber of %r failed", self.pattern, exc_info=error)
        self._publications.metrics.add(Counter.HANDLED if error is None else Counter.FAILED)
        item.release()
        self.under_way -= 1
        if not self._open and self.under_way == 0:
            self._consumer.close()


class Groups:
    """The queue groups of a system, for one process that publishes and joins.

    Parameters
    ----------
    endpoint : Endpoint
    queues : WorkQueues
    directory : Directory
    """

    def __init__(self, endpoint: Endpoint, queues: WorkQueues, directory: Directory) -> None:
        self._endpoint = endpoint
        self._queues = queues
        self._directory = directory
        self._joined = 0

    def join(
        self,
        publications: Publications,
        pattern: str,
        callback: Callable[[Publication], Any] | None,
        group: str | None,
        limit: int = 0,
    ) -> Membership:
        """Become a member; of a group of one's own when none is named."""
        if group is None:
            self._joined += 1
            group = f"{self._endpoint.correlation():x}\0"
        return Membership(
            publications, self._queues, self._directory, pattern, callback, group, limit
        )

    def choose(self, subject: str) -> list[list[Interest]]:
        """For each group that wants a subject, its members' queues, the chosen one first.

        A member is drawn at random; its queue stands for all who wait there.
        """
        members = self._directory.matching(GROUP, subject)
        if not members:
            return []
        random.shuffle(members)
        groups: dict[str, dict[int, Interest]] = {}
        for member in members:
            groups.setdefault(member.name, {}).setdefault(member.queue, member)
        return [list(each.values()) for each in groups.values()]

    async def give(self, choices: list[Interest], timeout_s: float, *message: Any) -> bool:
        """Put a publication into the first of a group's queues that takes it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        pause = 0.0005
        self._endpoint.metrics.add(Counter.SENT)
        while True:
            for choice in choices:
                full = choice.limit and self._endpoint.queues.length(choice.queue) >= choice.limit
                if not full and self._endpoint.post(choice.queue, *message):
                    return True
            left = until - loop.time()
            if left <= 0:
                self._endpoint.metrics.add(Counter.REFUSED)
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.01)


class GroupKeeper:
    """Sees to groups whose members have died; the manager has one.

    Parameters
    ----------
    endpoint : Endpoint
    directory : Directory
    bury : callable
        Makes a message a dead letter.
    """

    def __init__(
        self, endpoint: Endpoint, directory: Directory, bury: Callable[[Message, Reason], None]
    ) -> None:
        self._queues = endpoint.queues
        self._directory = directory
        self._bury = bury
        self._deserted: dict[int, float] = {}

    def tend(self) -> None:
        """What waits for a group that has had no member for ten seconds becomes dead letters."""
        self._directory.forget_dead()
        wanted = self._directory.queues()
        now = time.monotonic()
        for index in range(self._queues.count):
            name = self._queues.name(index)
            if name is None or not name.startswith(GROUPS) or index in wanted:
                self._deserted.pop(index, None)
            elif now - self._deserted.setdefault(index, now) >= _GRACE_S:
                self._empty(index)
                if name.startswith(_PRIVATE):
                    # Nobody can join it any more; publishers have long read that it is gone.
                    self._queues.close(index)

    def _empty(self, index: int) -> None:
        receiver = Receiver(self._queues, index)
        while batch := receiver.adopt(64) or receiver.take(64):
            for message in batch:
                self._bury(message, Reason.NO_MEMBER)


def _queue_name(group: str, pattern: str) -> str:
    prefix = _PRIVATE if group.endswith("\0") else GROUPS
    return prefix + hashlib.blake2b(f"{group}\0{pattern}".encode(), digest_size=16).hexdigest()
