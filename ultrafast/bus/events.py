"""`EnhancedEventBus`: handlers of what happens in a system, by pattern.

Stands on the topic matcher and the errors. It works within one process: what happens in others is
handed to `deliver`, what happens here goes out through its publisher; `bridge` is both.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ultrafast.bus import tracing
from ultrafast.bus.registrations import (
    Event,
    EventStatistics,
    Filter,
    Handler,
    Registration,
    Round,
    Waiter,
)
from ultrafast.bus.topics import TopicMatcher, check_pattern, check_subject
from ultrafast.errors import InvalidArgument, RegionClosed, Timeout

__all__ = ["EnhancedEventBus", "Event", "EventStatistics", "Registration"]

log = logging.getLogger(__name__)

_YIELD_EVERY = 32  # handlers that never suspend, before others on the loop get their turn


class _Call:
    """Marks the code that runs in a handler, for as long as the handler runs."""

    __slots__ = ("active", "bus")

    def __init__(self, bus: EnhancedEventBus) -> None:
        self.bus = bus
        self.active = True


_inside: ContextVar[_Call | None] = ContextVar("ultrafast_event_handler", default=None)


class EnhancedEventBus:
    """Calls handlers, sync or async, with the events whose subject falls under their pattern.

    At most `workers` handlers run at a time. Of those that wait, the highest priority goes first;
    at one priority, calls begin in the order of the events. A handler that raises is counted and
    reported, and the others run all the same.

    Parameters
    ----------
    workers : int
        Handlers that run at a time.
    history : int
        Events kept for replay.
    max_waiting : int
        Calls that may wait. `emit_soon` and `deliver` refuse events beyond that; `emit`, whose
        caller waits too, does not.
    publisher : callable, optional
        ``publisher(subject, payload)`` takes what is emitted here to other processes. Nothing that
        it published may come back through `deliver`.
    on_error : callable, optional
        ``on_error(event, registration, error)`` for handlers that raised; without it they are
        logged.
    clock : callable
        Wall clock in seconds.

    Notes
    -----
    Threads: one event loop. Sync handlers run on the loop and must be short.
    """

    def __init__(
        self,
        *,
        workers: int = 8,
        history: int = 256,
        max_waiting: int = 10_000,
        publisher: Callable[[str, Any], None] | None = None,
        on_error: Callable[[Event, Registration, Exception], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if workers < 1 or history < 0 or max_waiting < 1:
            raise InvalidArgument(
                f"workers is {workers}, history {history}, max_waiting {max_waiting}; they must be "
                "at least 1, 0 and 1"
            )
        self._workers = workers
        self._max_waiting = max_waiting
        self._publisher = publisher
        self._on_interest: Callable[[str, bool], None] | None = None
        self._interests: dict[str, int] = {}
        self._on_error = on_error
        self._clock = clock
        self._topics: TopicMatcher[Registration | Waiter] = TopicMatcher()
        self._history: deque[Event] = deque(maxlen=history)
        self._waiting: list[tuple[int, int, Registration, Event, Round | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: set[Waiter] = set()
        self._calls = 0
        self._working = 0
        self._running = 0
        self._closed = False
        self._emitted = self._delivered = self._handled = self._failed = 0
        self._refused = self._publish_failed = 0

    def connect(
        self,
        publisher: Callable[[str, Any], None] | None,
        on_interest: Callable[[str, bool], None] | None,
    ) -> None:
        """Take a publisher, as the constructor does, and tell others what is wanted here.

        ``on_interest(pattern, wanted)`` is called when a pattern gets its first handler, and when
        it has lost its last; at once for those that have some.
        """
        self._publisher = publisher
        self._on_interest = on_interest
        if on_interest is not None:
            for pattern in self._interests:
                on_interest(pattern, True)

    def is_wanted(self, subject: str) -> bool:
        """Whether an event has a handler here."""
        return bool(self._topics.match(subject))

    # --- handlers

    def on(
        self,
        pattern: str,
        handler: Handler,
        *,
        priority: int = 0,
        filter: Filter | None = None,
        replay: int = 0,
    ) -> Registration:
        """Call a handler with each event under a pattern.

        Parameters
        ----------
        pattern : str
            A subject in which `*` stands for one token and a last `>` for one or more.
        handler : callable
            Called with the `Event`; it may be a coroutine function.
        priority : int
            Calls of higher priority begin first.
        filter : callable, optional
            Only events for which it answers true.
        replay : int
            So many of the kept events under the pattern are handed to it first.

        Returns
        -------
        Registration
            For `off`.

        Raises
        ------
        SubjectError
            The pattern is none.
        RegionClosed
            The bus is closed.
        """
        return self._add(Registration(pattern, handler, priority, filter, False), replay)

    def once(
        self,
        pattern: str,
        handler: Handler,
        *,
        priority: int = 0,
        filter: Filter | None = None,
    ) -> Registration:
        """As `on`, for the next such event alone."""
        return self._add(Registration(pattern, handler, priority, filter, True), 0)

    def off(self, registration: Registration) -> bool:
        """End a registration: no call of its handler begins any more. False: it was over."""
        registration._removed = True
        return self._part(registration)

    async def wait_for(
        self, pattern: str, timeout_s: float | None = None, *, filter: Filter | None = None
    ) -> Event:
        """The next event under a pattern.

        Parameters
        ----------
        pattern : str
        timeout_s : float, optional
            How long to wait; without it, for ever.
        filter : callable, optional
            Only an event for which it answers true.

        Raises
        ------
        Timeout
            None came in time.
        RegionClosed
            The bus was closed.
        """
        self._check_open()
        waiter = Waiter(check_pattern(pattern), filter)
        self._join(waiter)
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.future
        except TimeoutError:
            raise Timeout(f"no event under {pattern!r} came in {timeout_s} s") from None
        finally:
            self._part(waiter)
            self._waiters.discard(waiter)

    # --- events

    async def emit(self, subject: str, payload: Any = None) -> int:
        """Say that something happened, and wait until its handlers have ended.

        A handler may emit in turn: the handlers of that run one after another in its own place.

        Parameters
        ----------
        subject : str
        payload : object

        Returns
        -------
        int
            Calls of handlers that did not fail.

        Raises
        ------
        SubjectError
            The subject is none.
        RegionClosed
            The bus is closed.
        """
        self._check_open()
        event = self._keep(subject, payload)
        self._emitted += 1
        calls = self._matching(event)
        self._publish(event)
        call = _inside.get()
        if call is not None and call.bus is self and call.active:
            calls.sort(key=_urgency)
            return sum([await self._run(each, event) for each in calls if not each._removed])
        if not calls:
            return 0
        together = Round()
        together.left = len(calls)
        for each in calls:
            self._push(each, event, together)
        await together.done
        return together.ok

    def emit_soon(self, subject: str, payload: Any = None) -> bool:
        """Say that something happened, and go on at once.

        Parameters
        ----------
        subject : str
        payload : object

        Returns
        -------
        bool
            False: too many calls of handlers are waiting, or the bus is closed; nobody is told.

        Raises
        ------
        SubjectError
            The subject is none.
        """
        event = self._take(subject, payload)
        if event is None:
            return False
        self._emitted += 1
        self._publish(event)
        return True

    def deliver(self, subject: str, payload: Any = None, trace: bytes | None = None) -> bool:
        """As `emit_soon`, for what happened in another process, in `trace`: it is not published."""
        if self._take(subject, payload, trace) is None:
            return False
        self._delivered += 1
        return True

    def recent(self, pattern: str = ">", limit: int | None = None) -> list[Event]:
        """The kept events under a pattern, the oldest first; the last `limit` of them."""
        matcher: TopicMatcher[None] = TopicMatcher(cache_entries=0)
        matcher.add(pattern, None)
        found = [event for event in self._history if matcher.match(event.subject)]
        return found if limit is None else found[max(0, len(found) - limit) :]

    def statistics(self) -> EventStatistics:
        """Counts so far."""
        return EventStatistics(
            handlers=len(self._topics),
            emitted=self._emitted,
            delivered=self._delivered,
            handled=self._handled,
            failed=self._failed,
            refused=self._refused,
            publish_failed=self._publish_failed,
            waiting=len(self._waiting),
            running=self._running,
            kept=len(self._history),
        )

    async def close(self, timeout_s: float = 1.0) -> None:
        """Take no more events, let waiting calls end, and cancel those that have not in time.

        May be called twice. Whoever is in `wait_for` gets `RegionClosed`.

        Parameters
        ----------
        timeout_s : float
        """
        self._closed = True
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(RegionClosed("the event bus was closed"))
        tasks = self._tasks - {asyncio.current_task()}  # a handler may close the bus
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for _, _, _, _, together in self._waiting:
            if together is not None:
                together.ended(False)
        self._waiting.clear()

    # --- inside

    def _check_open(self) -> None:
        if self._closed:
            raise RegionClosed("the event bus was closed")

    def _add(self, registration: Registration, replay: int) -> Registration:
        self._check_open()
        self._join(registration)
        for event in self.recent(registration.pattern, replay) if replay > 0 else ():
            if self._accepts(registration, registration._filter, event):
                self._push(registration, event, None)
        return registration

    def _join(self, each: Registration | Waiter) -> None:
        if check_pattern(each.pattern) not in self._interests and self._on_interest is not None:
            self._on_interest(each.pattern, True)  # which may refuse: then nothing has changed
        self._topics.add(each.pattern, each)
        self._interests[each.pattern] = self._interests.get(each.pattern, 0) + 1

    def _part(self, each: Registration | Waiter) -> bool:
        if not self._topics.remove(each.pattern, each):
            return False
        self._interests[each.pattern] -= 1
        if self._interests[each.pattern] == 0:
            del self._interests[each.pattern]
            if self._on_interest is not None:
                self._on_interest(each.pattern, False)
        return True

    def _keep(self, subject: str, payload: Any, trace: bytes | None = None) -> Event:
        trace = trace or tracing.current()
        check_subject(subject)
        event = Event(subject=subject, payload=payload, time_s=self._clock(), trace=trace)
        self._history.append(event)
        return event

    def _take(self, subject: str, payload: Any, trace: bytes | None = None) -> Event | None:
        check_subject(subject)
        if self._closed or len(self._waiting) >= self._max_waiting:
            self._refused += 1
            return None
        event = self._keep(subject, payload, trace)
        for each in self._matching(event):
            self._push(each, event, None)
        return event

    def _matching(self, event: Event) -> list[Registration]:
        """The handlers to call; whoever waits for the event is told here."""
        calls = []
        for each in self._topics.match(event.subject):
            if isinstance(each, Waiter):
                if not each.future.done() and self._accepts(each, each.accepts, event):
                    each.future.set_result(event)
            elif self._accepts(each, each._filter, event):
                if each._once:
                    self._part(each)
                calls.append(each)
        return calls

    def _accepts(self, whose: Registration | Waiter, accepts: Filter | None, event: Event) -> bool:
        if accepts is None:
            return True
        try:
            return bool(accepts(event))
        except Exception as error:  # noqa: BLE001 - a user's code; reported, and others go on
            self._failed += 1
            if isinstance(whose, Registration):
                whose.failed += 1
                self._report(event, whose, error)
            elif not whose.future.done():
                whose.future.set_exception(error)  # to who waits
            return False

    def _push(self, registration: Registration, event: Event, together: Round | None) -> None:
        self._calls += 1
        entry = (-registration.priority, self._calls, registration, event, together)
        heapq.heappush(self._waiting, entry)
        if self._working < self._workers:
            self._working += 1
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """One of the workers: it ends when nothing waits."""
        done = 0
        try:
            while self._waiting:
                _, _, registration, event, together = heapq.heappop(self._waiting)
                ok = False
                try:
                    if not registration._removed:
                        ok = await self._run(registration, event)
                finally:
                    if together is not None:
                        together.ended(ok)
                done += 1
                if done % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        finally:
            self._working -= 1  # at once: whoever pushes next must know that nobody looks any more

    async def _run(self, registration: Registration, event: Event) -> bool:
        """Call a handler: whether it did not fail."""
        call = _Call(self)
        before = _inside.set(call)
        self._running += 1
        try:
            answer = tracing.call(event.trace, registration._handler, event)
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the bus is closed, or who emitted gave up
            self._has_failed(event, registration, RuntimeError(f"cancelled: {error}"))
            return False
        except Exception as error:  # noqa: BLE001 - a user's code; reported, and others go on
            self._has_failed(event, registration, error)
            return False
        finally:
            call.active = False
            self._running -= 1
            _inside.reset(before)
        self._handled += 1
        registration.handled += 1
        return True

    def _has_failed(self, event: Event, registration: Registration, error: Exception) -> None:
        self._failed += 1
        registration.failed += 1
        self._report(event, registration, error)

    def _report(self, event: Event, registration: Registration, error: Exception) -> None:
        if self._on_error is not None:
            try:
                self._on_error(event, registration, error)
                return
            except Exception:
                log.exception("on_error failed, for %r", registration)
        log.error("a handler of %r failed: %r", event.subject, registration, exc_info=error)

    def _publish(self, event: Event) -> None:
        if self._publisher is None:
            return
        try:
            self._publisher(event.subject, event.payload)
        except Exception:
            self._publish_failed += 1
            log.exception("the event %r could not be published", event.subject)


def _urgency(registration: Registration) -> int:
    return -registration.priority
