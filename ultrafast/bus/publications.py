"""Publications: a payload under a subject, given to whoever subscribed, in every process.

Stands on an `Endpoint`, the fan-out, the topic matcher and the queue groups. A publication goes to
each process that has an inbox, and is matched there against that process's subscriptions; and to
one queue of each group that wants it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ultrafast import codec
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.fanout import Target, copy_to_all, published_in, share_among, shares
from ultrafast.bus.groups import Groups
from ultrafast.bus.subscription import Publication, Subscription, WhenFull
from ultrafast.bus.topics import TopicMatcher, check_pattern, check_subject
from ultrafast.bus.wire import Kind, Reason, is_overdue, lane_of, ttl_ms_of
from ultrafast.core import Message, now_ns
from ultrafast.errors import DecodeError, InvalidArgument, SubjectError
from ultrafast.metric_names import Counter, Histogram

__all__ = ["Publication", "Publications", "Subscription"]

log = logging.getLogger(__name__)

# A task that begins at once, and need not be scheduled when it ends without a wait.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Publications:
    """Publishing and subscribing, for one process.

    Parameters
    ----------
    endpoint : Endpoint
    handlers : int
        Callbacks under way at once in this process.
    groups : Groups
    bury_message, bury_payload : callable
        Make dead letters: of a message, of a publication's bytes and its trace; both with the
        reason.
    ahead : callable
        Sends what must be on its way before a publication: the word to agents just spawned, who may
        subscribe when they start.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        handlers: int,
        groups: Groups,
        bury_message: Callable[[Message, Reason], None],
        bury_payload: Callable[[bytes, Reason, bytes | None], None],
        ahead: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._groups = groups
        self._bury_message = bury_message
        self._bury_payload = bury_payload
        self._ahead = ahead
        self._topics: TopicMatcher[Subscription] = TopicMatcher()
        self._running: set[asyncio.Task[None]] = set()
        self._at_once = handlers
        self.metrics = endpoint.metrics
        self.handlers = asyncio.Semaphore(handlers)
        endpoint.on(Kind.PUBLISH, self._published)

    async def publish(
        self,
        subject: str,
        payload: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """See `UltraFastCommunicationBus.publish`."""
        check_subject(subject)
        lane = lane_of(priority)
        ttl_ms = ttl_ms_of(ttl_s)
        started = now_ns()
        endpoint = self._endpoint
        body, number = codec.encode(payload)
        self._ahead()
        targets = [Target([queue], 0) for queue in endpoint.region.inboxes()]
        groups = self._groups.choose(subject)
        head = (lane, number, started, ttl_ms)
        if shares(body, len(targets) + len(groups)):
            targets += [Target.of_group(endpoint, choices) for choices in groups]
            self.metrics.add(Counter.SENT, len(groups))
            refused = await share_among(endpoint, targets, subject, body, head, timeout_s)
            self.metrics.add(Counter.REFUSED, sum(each.correlation != 0 for each in refused))
            accepted = not refused
        else:
            copied = codec.publication(subject, body, number)
            accepted = await copy_to_all(endpoint, targets, copied, head, timeout_s)
            for choices in groups:
                message = (lane, copied, int(Kind.PUBLISH), codec.PUBLICATION, 0, 0)
                accepted &= await self._groups.give(
                    choices, timeout_s, *message, endpoint.correlation(), started, 0, 0, ttl_ms
                )
        self.metrics.add(Counter.PUBLISHED)
        self.metrics.record(Histogram.PUBLISH, now_ns() - started)
        return accepted

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Publication], Any] | None = None,
        *,
        queue_group: str | None = None,
        buffer: int = 1024,
        when_full: WhenFull = "drop-oldest",
    ) -> Subscription:
        """See `UltraFastCommunicationBus.subscribe`."""
        check_pattern(pattern)
        if buffer < 1:
            raise InvalidArgument(f"buffer is {buffer}; allowed is 1 or more")
        if when_full not in ("block", "drop-oldest", "dead-letter"):
            raise InvalidArgument(
                f"when_full is {when_full!r}; allowed is 'block', 'drop-oldest', 'dead-letter'"
            )
        if queue_group is not None:
            if not queue_group or "\0" in queue_group:
                raise InvalidArgument(f"queue_group {queue_group!r} is no name of a group")
            return self._groups.join(self, pattern, callback, queue_group)
        if when_full == "block":
            return self._groups.join(self, pattern, callback, None, buffer)
        subscription = Subscription(self, pattern, callback, buffer, when_full)
        self._topics.add(pattern, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> bool:
        """End a subscription: whether it was one."""
        return self._topics.remove(subscription.pattern, subscription)

    def overflowed(self, publication: Publication, *, bury: bool) -> None:
        """A subscription's buffer has no room for this one any more."""
        self.metrics.add(Counter.DROPPED)
        if bury:
            payload, number = codec.encode(publication.payload)
            body = codec.publication(publication.subject, payload, number)
            self._bury_payload(body, Reason.SLOW_CONSUMER, publication.trace)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the rest of a callback as a task; at once, where the interpreter can."""
        if _EAGER:
            loop = asyncio.get_running_loop()
            task: asyncio.Task[None] = asyncio.Task(coroutine, loop=loop, **_EAGER)
            if task.done():
                return
        else:
            task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _published(self, message: Message) -> None:
        try:
            subject, encoded, number = published_in(message)
            matching = self._topics.match(subject)
            if not matching:
                message.release()
                return
            if message.extra and is_overdue(message):
                self._bury_message(message, Reason.EXPIRED)
                return
            payload = codec.decode(encoded, number, in_place=True)
        except (DecodeError, SubjectError) as error:
            log.warning("a publication can't be read: %s", error)
            message.release()
            return
        del encoded  # a view that is kept keeps the block
        trace = message.trace
        message.release()
        publication = Publication(subject, payload, trace=trace)
        for subscription in matching:
            subscription.received += 1
            if subscription.takes(self._at_once):
                self._call(subscription, publication)
            else:
                subscription.keep(publication)

    def _call(self, subscription: Subscription, publication: Publication) -> None:
        """Call back; what does not wait is done when this returns."""
        try:
            awaitable = subscription.call(publication)
        except Exception:
            log.exception("a subscriber of %r failed", subscription.pattern)
            return
        if awaitable is not None and inspect.isawaitable(awaitable):
            subscription.under_way += 1
            self.run(self._handle(subscription, awaitable))

    async def _handle(self, subscription: Subscription, awaitable: Awaitable[Any]) -> None:
        """Wait for a callback, and then for those of publications that came meanwhile."""
        next_one: Awaitable[Any] | None = awaitable
        try:
            while next_one is not None:
                async with self.handlers:
                    try:
                        await next_one
                    except Exception:
                        log.exception("a subscriber of %r failed", subscription.pattern)
                next_one = self._following(subscription)
        finally:
            subscription.under_way -= 1

    def _following(self, subscription: Subscription) -> Awaitable[Any] | None:
        while (publication := subscription.oldest()) is not None:
            try:
                awaitable = subscription.call(publication)
            except Exception:
                log.exception("a subscriber of %r failed", subscription.pattern)
                continue
            if inspect.isawaitable(awaitable):
                found: Awaitable[Any] = awaitable
                return found
        return None
