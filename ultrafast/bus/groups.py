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

from ultrafast.bus.consumer import Consumer, WorkItem
from ultrafast.bus.deletion import empty_deleted
from ultrafast.bus.directory import GROUP, Directory, Interest
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.subscription import Publication, Subscription
from ultrafast.bus.wire import Reason
from ultrafast.bus.workqueue import GROUPS, PRIVATE, WorkQueues
from ultrafast.core import Message
from ultrafast.errors import QueueDeleted
from ultrafast.metric_names import Counter

if TYPE_CHECKING:
    from ultrafast.bus.publications import Publications

__all__ = ["GroupKeeper", "Groups", "Membership"]

log = logging.getLogger(__name__)

# What waits for a group without members waits so long: a dead worker's successor joins by then.
_GRACE_S: Final = 10.0


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
        self._queues = queues
        self._directory = directory
        self._limit = limit
        self._open = True
        self._interest, self._consumer = self._join()
        self._pump = None if callback is None else asyncio.ensure_future(self._call_all())

    def _join(self) -> tuple[Interest, Consumer]:
        """Be a member from here on: of the group's queue as it stands now."""
        group = self.queue_group
        assert group is not None
        index, opening = self._queues.open(_queue_name(group, self.pattern))
        interest = Interest(GROUP, group, self.pattern, index, self._limit, opening)
        acknowledge: Any = "auto" if self._callback is None else "manual"
        consumer = self._queues.consumer(index, group, opening, 1, acknowledge)
        try:
            self._directory.announce(interest)
        except BaseException:
            consumer.close()
            raise
        return interest, consumer

    def _join_again(self) -> None:
        """The queue was deleted for want of members as this one joined: be one of the next."""
        before, emptied = self._interest, self._consumer
        self._interest, self._consumer = self._join()
        self._directory.withdraw(before)
        emptied.stop()  # what it gave can still be acknowledged

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
        while self._open:
            try:
                async for item in self._consumer:
                    yield self._publication(item)
                return
            except QueueDeleted:
                self._join_again()

    async def next(self, timeout_s: float) -> Publication:
        """The next publication, or `TimeoutError`; the one before is acknowledged by the call."""
        try:
            return self._publication(await self._consumer.next(timeout_s))
        except QueueDeleted:
            self._join_again()
            return self._publication(await self._consumer.next(timeout_s))

    def _publication(self, item: WorkItem) -> Publication:
        self.received += 1
        subject, payload = (item.note.decode(), item.body) if item.note else item.body
        return Publication(subject, payload, item.redelivered, item.trace)

    async def _call_all(self) -> None:
        while self._open:
            try:
                await self._call_each()
                return
            except QueueDeleted:
                self._join_again()

    async def _call_each(self) -> None:
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

    def _post(self, choice: Interest, message: tuple[Any, ...]) -> bool:
        try:
            return self._endpoint.post(choice.queue, *message, opening=choice.opening)
        except QueueDeleted:
            return False  # its members are of another queue by now, or there are none

    async def give(self, choices: list[Interest], timeout_s: float, *message: Any) -> bool:
        """Put a publication into the first of a group's queues that takes it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        pause = 0.0005
        self._endpoint.metrics.add(Counter.SENT)
        while True:
            for choice in choices:
                full = choice.limit and self._endpoint.queues.length(choice.queue) >= choice.limit
                if not full and self._post(choice, message):
                    return True
            left = until - loop.time()
            if left <= 0:
                self._endpoint.metrics.add(Counter.REFUSED)
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.01)


class GroupKeeper:
    """Sees to groups whose members have died, and to deleted queues; the manager has one.

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
        """Delete the queues of groups that have had no member for ten seconds.

        What waits there becomes dead letters. So it does in queues that others deleted and were not
        done with: they died, or a consumer still had something.
        """
        self._directory.forget_dead()
        wanted = self._directory.queues()
        now = time.monotonic()
        for index in range(self._queues.count):
            if closing := self._queues.closing(index):
                self._empty(index, closing)
                continue
            name = self._queues.name(index)
            if name is None or not name.startswith(GROUPS) or index in wanted:
                self._deserted.pop(index, None)
            elif now - self._deserted.setdefault(index, now) >= _GRACE_S:
                self._deserted.pop(index)
                self._delete(name)

    def _delete(self, name: str) -> None:
        index, opening = self._queues.enter(name)
        try:
            closing = self._queues.delete(index, opening)
        except QueueDeleted:
            return
        self._empty(index, closing)

    def _empty(self, index: int, closing: int) -> None:
        is_group = (self._queues.name(index) or "").startswith(GROUPS)
        reason = Reason.NO_MEMBER if is_group else Reason.QUEUE_DELETED
        empty_deleted(self._queues, index, closing, self._bury, reason)


def _queue_name(group: str, pattern: str) -> str:
    prefix = PRIVATE if group.endswith("\0") else GROUPS
    return prefix + hashlib.blake2b(f"{group}\0{pattern}".encode(), digest_size=16).hexdigest()
