"""Publications: a payload under a subject, given to whoever subscribed, in every process.

Stands on an `Endpoint` and the topic matcher. A publication goes to each process that has an inbox,
and is matched there against that process's subscriptions.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.topics import TopicMatcher, check_pattern, check_subject
from ultrafast.bus.wire import Kind, lane_of
from ultrafast.core import Message, now_ns
from ultrafast.errors import RegionClosed, SubjectError
from ultrafast.metric_names import Counter, Histogram

__all__ = ["Publication", "Publications", "Subscription"]

log = logging.getLogger(__name__)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[str, Any])


class Publication(msgspec.Struct, frozen=True):
    """What a subscriber gets.

    Attributes
    ----------
    subject : str
        What it was published under.
    payload : object
        Plain values, as msgpack has them.
    """

    subject: str
    payload: Any


class Subscription:
    """What `subscribe` gives: an async iterator of publications, or the handle of a callback.

    Parameters
    ----------
    publications, pattern, callback, buffer
        As `UltraFastCommunicationBus.subscribe` was given them.

    Attributes
    ----------
    pattern : str
    received : int
        Publications that matched.
    dropped : int
        Of them, those that found the iterator's buffer full: the oldest gave way.
    """

    def __init__(
        self,
        publications: Publications,
        pattern: str,
        callback: Callable[[Publication], Any] | None,
        buffer: int,
    ) -> None:
        self.pattern = pattern
        self.received = 0
        self.dropped = 0
        self._publications = publications
        self._callback = callback
        self._queue: asyncio.Queue[Publication | None] = asyncio.Queue(buffer)

    def close(self) -> None:
        """Receive no more; an iteration ends after what it has. May be called twice."""
        if self._publications.unsubscribe(self):
            self._put(None)

    async def __aiter__(self) -> AsyncIterator[Publication]:
        while (publication := await self._queue.get()) is not None:
            yield publication

    async def next(self, timeout_s: float) -> Publication:
        """The next publication, or `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            publication = await self._queue.get()
        if publication is None:
            raise RegionClosed(f"subscription {self.pattern!r} was closed")
        return publication

    def _put(self, publication: Publication | None) -> None:
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(publication)

    def _deliver(self, publication: Publication) -> Awaitable[Any] | None:
        self.received += 1
        if self._callback is None:
            self._put(publication)
            return None
        result = self._callback(publication)
        return result if inspect.isawaitable(result) else None


class Publications:
    """Publishing and subscribing, for one process.

    Parameters
    ----------
    endpoint : Endpoint
    handlers : int
        Callbacks under way at once in this process.
    """

    def __init__(self, endpoint: Endpoint, handlers: int) -> None:
        self._endpoint = endpoint
        self._topics: TopicMatcher[Subscription] = TopicMatcher()
        self._handlers = asyncio.Semaphore(handlers)
        self._running: set[asyncio.Task[None]] = set()
        endpoint.on(Kind.PUBLISH, self._published)

    async def publish(
        self, subject: str, payload: Any, *, priority: str | int = "normal", timeout_s: float = 0.0
    ) -> bool:
        """Give a payload to every subscription that matches, in every process.

        Returns
        -------
        bool
            Whether every process's queue accepted it within `timeout_s`.
        """
        check_subject(subject)
        lane = lane_of(priority)
        started = now_ns()
        body = _encoder.encode([subject, payload])
        accepted = True
        for owner in self._endpoint.region.owners():
            if owner.queue is None:
                continue
            accepted &= await self._endpoint.post_within(
                timeout_s, owner.queue, lane, body, int(Kind.PUBLISH), 0, 0, 0, 0, started
            )
        self._endpoint.metrics.add(Counter.PUBLISHED)
        self._endpoint.metrics.record(Histogram.PUBLISH, now_ns() - started)
        return accepted

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Publication], Any] | None = None,
        *,
        buffer: int = 1024,
    ) -> Subscription:
        """Receive what is published under a pattern, by callback or by iterating.

        Parameters
        ----------
        pattern : str
            A subject in which `*` stands for one token and a last `>` for one or more.
        callback : callable, optional
            Called with each `Publication`; it may be a coroutine function.
        buffer : int
            Publications that an iterator may lag behind; then the oldest gives way, counted.
        """
        check_pattern(pattern)
        subscription = Subscription(self, pattern, callback, buffer)
        self._topics.add(pattern, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> bool:
        """End a subscription: whether it was one."""
        return self._topics.remove(subscription.pattern, subscription)

    def _published(self, message: Message) -> None:
        try:
            subject, payload = _decoder.decode(message.payload)
            matching = self._topics.match(subject)
        except (msgspec.MsgspecError, SubjectError) as error:
            log.warning("a publication can't be read: %s", error)
            return
        finally:
            message.release()
        publication = Publication(subject, payload)
        for subscription in matching:
            try:
                awaitable = subscription._deliver(publication)
            except Exception:
                log.exception("a subscriber of %r failed", subscription.pattern)
                continue
            if awaitable is not None:
                task = asyncio.ensure_future(self._handle(subscription, awaitable))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _handle(self, subscription: Subscription, awaitable: Awaitable[Any]) -> None:
        async with self._handlers:
            try:
                await awaitable
            except Exception:
                log.exception("a subscriber of %r failed", subscription.pattern)
