"""`Subscription`: what `subscribe` gives, and the `Publication` that it yields.

Stands on asyncio. Takes what `publications` hands it; sends nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ultrafast.bus import tracing
from ultrafast.errors import RegionClosed

if TYPE_CHECKING:
    from ultrafast.bus.publications import Publications

__all__ = ["Publication", "Subscription", "WhenFull"]

WhenFull = Literal["block", "drop-oldest", "dead-letter"]


class Publication(msgspec.Struct, frozen=True):
    """What a subscriber gets.

    Attributes
    ----------
    subject : str
        What it was published under.
    payload : object
        Plain values, as msgpack has them.
    redelivered : bool
        A member of its queue group died while it had it.
    trace : bytes, optional
        The trace that it was published in, as it travels.
    """

    subject: str
    payload: Any
    redelivered: bool = False
    trace: bytes | None = None

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was published in; None outside any."""
        return tracing.text_of(self.trace)


class Subscription:
    """What `subscribe` gives: an async iterator of publications, or the handle of a callback.

    Parameters
    ----------
    publications, pattern, callback, buffer, when_full
        As `UltraFastCommunicationBus.subscribe` was given them.

    Attributes
    ----------
    pattern : str
    queue_group : str, optional
    received : int
        Publications that matched.
    under_way : int
        Callbacks that have begun and not ended.
    dropped : int
        Of them, those that did not fit the buffer: the oldest gave way, or became dead letters.
    """

    queue_group: str | None = None

    def __init__(
        self,
        publications: Publications,
        pattern: str,
        callback: Callable[[Publication], Any] | None,
        buffer: int,
        when_full: WhenFull,
    ) -> None:
        self.pattern = pattern
        self.received = 0
        self.dropped = 0
        self._publications = publications
        self._callback = callback
        self._buffer = buffer
        self._buries = when_full == "dead-letter"
        self._waiting: deque[Publication] = deque()
        self._closed = False
        self._ready = asyncio.Event()
        self.under_way = 0

    def close(self) -> None:
        """Receive no more; an iteration ends after what it has. May be called twice."""
        if self._publications.unsubscribe(self):
            self._closed = True
            self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Publication]:
        while (publication := await self._get()) is not None:
            yield publication

    async def next(self, timeout_s: float) -> Publication:
        """The next publication, or `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            publication = await self._get()
        if publication is None:
            raise RegionClosed(f"subscription {self.pattern!r} was closed")
        return publication

    async def _get(self) -> Publication | None:
        while not self._waiting:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()

    # --- what `publications` calls

    def takes(self, at_once: int) -> bool:
        """Whether its callback may be called now."""
        return self._callback is not None and self.under_way < at_once

    def call(self, publication: Publication) -> Any:
        """Call back: what the callback returns."""
        assert self._callback is not None
        return tracing.call(publication.trace, self._callback, publication)

    def keep(self, publication: Publication) -> None:
        """Put into the buffer; where it is full, the oldest gives way."""
        if len(self._waiting) >= self._buffer:
            self.dropped += 1
            self._publications.overflowed(self._waiting.popleft(), bury=self._buries)
        self._waiting.append(publication)
        self._ready.set()

    def oldest(self) -> Publication | None:
        """Take the oldest out of the buffer of a callback's subscription that still lasts."""
        return self._waiting.popleft() if self._waiting and not self._closed else None
