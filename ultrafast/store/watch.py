"""`Watch`: what changes in a namespace of the store, in any process, told over the bus.

Stands on the bus, the event bus and the store. Nobody who writes does anything for it. While
somebody watches, the manager looks over the table (`store/lookout.py`) and publishes what it finds;
here is who asks for that, and who is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import itertools
import logging
import os
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.directory import WATCH, Interest
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.bus.subscription import Publication, Subscription, WhenFull
from ultrafast.errors import InvalidArgument, Timeout

if TYPE_CHECKING:
    from ultrafast.store.store import UltraFastMemoryStore

__all__ = ["ASKED", "Change", "Told", "Watch", "Watched", "Watches", "subject_of"]

log = logging.getLogger(__name__)

ASKED: Final = "store.watched"
"""Emitted by who begins to watch; the one who looks over the table listens to it."""

_AGAIN_S = 0.2
_KINDS: Final = ("set", "delete", "expire")


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One publication.

    Attributes
    ----------
    namespace : str
    number : int
        Of this namespace's publications: one that is left out is noticed.
    answers : list of str
        Who is answered by this one, and does not know yet what is in it. Of others' answers the
        changes are known.
    changes : list of (int, str, int)
        Kind, key, version.
    """

    namespace: str
    number: int
    answers: list[str]
    changes: list[tuple[int, str, int]]


def subject_of(namespace: str) -> str:
    """What a namespace's changes are published under: any text can be a namespace."""
    return f"ultrafast.store.{hashlib.blake2b(namespace.encode(), digest_size=12).hexdigest()}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to an entry.

    Attributes
    ----------
    kind : {"set", "delete", "expire"}
    namespace, key : str
    version : int
        The entry's that was set; the last known one of an entry that is gone.
    """

    kind: Literal["set", "delete", "expire"]
    namespace: str
    key: str
    version: int
    store: Any

    def value(self, default: Any = None) -> Any:
        """The entry's value as it is now, perhaps of a later version; `default` without one."""
        return self.store.get(self.namespace, self.key, default)


class Watch:
    """Changes of one key, or of all keys with a prefix: an async iterator, or a callback's handle.

    Made by ``await memory_store.watch(...)``. Use it in ``async with``, or `close` it.

    Attributes
    ----------
    namespace : str
    missed : int
        Publications, of one to 128 changes each, that did not reach this process or gave way in
        its buffer. Read the entries anew when it has grown.
    """

    def __init__(
        self,
        store: UltraFastMemoryStore,
        namespace: str,
        key: str | None,
        prefix: str,
        callback: Callable[[Change], Any] | None,
        initial: bool,
    ) -> None:
        if key is not None and prefix:
            raise InvalidArgument(f"watch: a key ({key!r}) and a prefix ({prefix!r}); give one")
        self.namespace = namespace
        self.missed = 0
        self._store = store
        self._key = key
        self._prefix = prefix
        self._callback = callback
        self.initial = initial
        self.token = ""
        self._number: int | None = None
        self._subscription: Subscription | None = None
        self._leave: Callable[[], None] | None = None

    def close(self) -> None:
        """Be told no more; an iteration ends after what it has. May be called twice."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        if self._subscription is not None:
            self._subscription.close()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Change]:
        assert self._subscription is not None
        async for publication in self._subscription:
            for change in self._changes(publication):
                yield change

    # --- inside

    @property
    def wish(self) -> str:
        """Which keys: "=" and a key, or "^" and what they begin with."""
        return f"^{self._prefix}" if self._key is None else f"={self._key}"

    def _changes(self, publication: Publication) -> list[Change]:
        try:
            told = msgspec.convert(publication.payload, Told)
        except msgspec.ValidationError as error:
            log.warning("what was told of the store can't be read: %s", error)
            return []
        if told.namespace != self.namespace:
            return []  # two namespaces whose names have one digest
        if self._number is not None and told.number > self._number + 1:
            self.missed += told.number - self._number - 1
        self._number = told.number
        if told.answers and self.token not in told.answers:
            return []
        return [
            Change(
                kind=_KINDS[kind],
                namespace=self.namespace,
                key=key,
                version=version,
                store=self._store,
            )
            for kind, key, version in told.changes
            if (key.startswith(self._prefix) if self._key is None else key == self._key)
        ]

    async def _call(self, publication: Publication) -> None:
        assert self._callback is not None
        for change in self._changes(publication):
            try:
                awaitable = self._callback(change)
                if inspect.isawaitable(awaitable):
                    await awaitable
            except Exception:  # of the watcher's own code: the next change is told all the same
                log.exception("a watcher of %r failed", self.namespace)


class Watches:
    """Begins watches, for one process.

    Parameters
    ----------
    bus : UltraFastCommunicationBus
    events : EnhancedEventBus
    index : int
        This process's queue.
    """

    def __init__(
        self, bus: UltraFastCommunicationBus, events: EnhancedEventBus, index: int
    ) -> None:
        self._bus = bus
        self._events = events
        self._index = index
        self._asked = itertools.count()

    async def begin(
        self, watch: Watch, *, buffer: int, when_full: WhenFull, timeout_s: float
    ) -> Watch:
        """Subscribe, ask, and wait for the answer."""
        subject = subject_of(watch.namespace)
        names = msgspec.json.encode([watch.namespace, watch.wish]).decode()
        interest = Interest(WATCH, names, subject, self._index)
        answered = asyncio.Event()

        def answer(publication: Publication) -> None:
            payload = publication.payload
            if isinstance(payload, list) and payload[2:3] == [[watch.token]]:
                if watch._number is None:
                    watch._number = payload[1] - 1  # from here on, one that is left out is missed
                if not payload[3]:
                    answered.set()

        callback = None if watch._callback is None else watch._call
        subscription = self._bus.subscribe(subject, callback, buffer=buffer, when_full=when_full)
        ear = self._bus.subscribe(subject, answer)
        watch._subscription = subscription
        try:
            self._bus.directory.announce(interest)
        except BaseException:  # cancelled too: nothing half begun stays
            subscription.close()
            ear.close()
            raise
        watch._leave = lambda: self._bus.directory.withdraw(interest)
        try:
            await self._ask(watch, answered, timeout_s)
        except BaseException:  # the same
            watch.close()
            raise
        finally:
            ear.close()
        return watch

    async def _ask(self, watch: Watch, answered: asyncio.Event, timeout_s: float) -> None:
        """Until it is answered: an event is not kept for a manager that is just starting."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        pause_s = _AGAIN_S
        while not answered.is_set():
            left = until - loop.time()
            if left <= 0:
                raise Timeout(
                    f"namespace {watch.namespace!r} can't be watched: the manager did not answer "
                    f"within {timeout_s:g} s"
                )
            # Another name each time: an answer that comes late is passed over, not told twice.
            watch.token = f"{os.getpid()}-{self._index}-{next(self._asked)}"
            asked = {"namespace": watch.namespace, "token": watch.token}
            if watch.initial:
                asked["keys"] = watch.wish
            self._events.emit_soon(ASKED, asked)
            try:
                async with asyncio.timeout(min(pause_s, left)):
                    await answered.wait()
            except TimeoutError:
                pause_s *= 2


class Watched:
    """What a store has of watching. `watches` is the process's, which knows the bus."""

    watches: Watches | None = None

    async def watch(
        self,
        namespace: str,
        key: str | None = None,
        *,
        prefix: str = "",
        initial: bool = False,
        callback: Callable[[Change], Any] | None = None,
        buffer: int = 1024,
        when_full: WhenFull = "drop-oldest",
        timeout_s: float = 5.0,
    ) -> Watch:
        """Be told of what is written, deleted and expires from when this returns, by any process.

        Parameters
        ----------
        namespace : str
        key : str, optional
            Of one entry; without it, of all.
        prefix : str
            What the keys begin with.
        initial : bool
            Be told first of what there is, as if it were set now. Only then do the changes add up
            to what the store holds: what is read beside them may come and go untold.
        callback : callable, optional
            Called with each `Change`; it may be a coroutine function. Without it, iterate.
        buffer : int
            Publications that may wait in this process, each of one to 128 changes.
        when_full : {"drop-oldest", "block", "dead-letter"}
            As `UltraFastCommunicationBus.subscribe`; `Watch.missed` counts what is lost.
        timeout_s : float
            How long to wait for the manager, who looks for changes.

        Returns
        -------
        Watch
            To be used in ``async with``, or closed.

        Raises
        ------
        Timeout
            The manager did not answer.
        InvalidArgument
            A key and a prefix were given, or this store is not that of a system's process.

        Notes
        -----
        What happens to an entry between two looks, 20 ms apart or more, is one change: the last
        state is always told, those between may be not; an entry that came and went may be not. The
        changes of one key arrive in order. Those who write do nothing for it.
        """
        store: Any = self
        if self.watches is None:
            raise InvalidArgument(
                "watch: this store stands by itself; a system's process can watch"
            )
        return await self.watches.begin(
            Watch(store, namespace, key, prefix, callback, initial),
            buffer=buffer,
            when_full=when_full,
            timeout_s=timeout_s,
        )
