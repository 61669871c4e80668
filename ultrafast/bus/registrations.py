"""What the event bus is about: `Event`, the `Registration` of a handler, `EventStatistics`.

Stands on msgspec and the traces. Calls nobody: `ultrafast.bus.events` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ultrafast.bus import tracing

__all__ = ["Event", "EventStatistics", "Filter", "Handler", "Registration", "Round", "Waiter"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    Attributes
    ----------
    subject : str
    payload : object
    time_s : float
        When it was given to this bus, by the wall clock.
    trace : bytes, optional
        The trace that it was emitted in, as it travels. It is current while handlers run.
    """

    subject: str
    payload: Any
    time_s: float
    trace: bytes | None = None

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was emitted in; None outside any."""
        return tracing.text_of(self.trace)


Handler = Callable[[Event], Awaitable[object] | object]
Filter = Callable[[Event], bool]


class EventStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the bus was made.

    Attributes
    ----------
    handlers : int
        Registered now, `wait_for` included.
    emitted, delivered : int
        Events that happened here, and those that came from elsewhere.
    handled, failed : int
        Calls of handlers, by their end. A filter that raises is a failure too.
    refused : int
        Events not taken, because too many calls were waiting or the bus was closed.
    publish_failed : int
        Times that the publisher raised.
    waiting, running : int
        Calls of handlers now.
    kept : int
        Events that can be replayed.
    """

    handlers: int
    emitted: int
    delivered: int
    handled: int
    failed: int
    refused: int
    publish_failed: int
    waiting: int
    running: int
    kept: int


class Registration:
    """A handler on a bus, as `on` answers it; `off` ends it.

    Attributes
    ----------
    pattern : str
    priority : int
    handled, failed : int
        Its calls, by their end.
    """

    __slots__ = (
        "_filter",
        "_handler",
        "_once",
        "_removed",
        "failed",
        "handled",
        "pattern",
        "priority",
    )

    def __init__(
        self, pattern: str, handler: Handler, priority: int, accepts: Filter | None, once: bool
    ) -> None:
        self.pattern = pattern
        self.priority = priority
        self.handled = 0
        self.failed = 0
        self._handler = handler
        self._filter = accepts
        self._once = once
        self._removed = False

    def __repr__(self) -> str:
        return f"Registration({self.pattern!r}, {self._handler!r})"


class Waiter:
    """A `wait_for` under way."""

    __slots__ = ("accepts", "future", "pattern")

    def __init__(self, pattern: str, accepts: Filter | None) -> None:
        self.pattern = pattern
        self.accepts = accepts
        self.future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()


class Round:
    """The calls that one `emit` waits for."""

    __slots__ = ("done", "left", "ok")

    def __init__(self) -> None:
        self.left = 0
        self.ok = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(self, ok: bool) -> None:
        self.left -= 1
        self.ok += ok
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)
