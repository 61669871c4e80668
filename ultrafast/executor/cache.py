"""Answers kept and shared: `TTLMap`, `ResultCache` over any store, `SingleFlight`.

Stands on msgspec and the standard library. A store is anything with `get` and `set` of bytes: the
shared store lets all workers share answers, `LocalStore` keeps them in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

import msgspec

from ultrafast.errors import UltrafastError
from ultrafast.executor.model import Completion, ModelRequest

__all__ = [
    "CacheStatistics",
    "CacheStore",
    "LocalStore",
    "ResultCache",
    "SingleFlight",
    "TTLMap",
    "TTLStatistics",
    "request_key",
]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

# Part of every key: raised when the same request would be stored differently.
_FORMAT = 1


class TTLStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a `TTLMap` has done.

    Attributes
    ----------
    entries, hits, misses : int
        Entries now, expired ones included; questions answered with a value, and without.
    expired, evicted : int
        Entries dropped because their time was over, and because the map was full.
    """

    entries: int
    hits: int
    misses: int
    expired: int
    evicted: int


class TTLMap(Generic[K, V]):
    """A bounded map whose entries are forgotten after a time; the least recently used go first.

    Parameters
    ----------
    max_entries : int
        How many are kept.
    ttl_s : float
        How long each is kept, unless `set` says otherwise.
    clock : callable
        Seconds that never go back.

    Notes
    -----
    Threads: one. Waits: never. Cost: constant; an expired entry is dropped when it is met.

    Examples
    --------
    >>> now = [0.0]
    >>> kept = TTLMap(max_entries=2, ttl_s=10.0, clock=lambda: now[0])
    >>> kept.set("a", 1)
    >>> kept.get("a")
    1
    >>> now[0] = 10.0
    >>> kept.get("a") is None
    True
    """

    def __init__(
        self,
        *,
        max_entries: int = 1024,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries is {max_entries}; it must be at least 1")
        if ttl_s <= 0:
            raise ValueError(f"ttl_s is {ttl_s}; it must be positive")
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._hits = self._misses = self._expired = self._evicted = 0

    def get(self, key: K, default: V | None = None) -> V | None:
        """The value, or `default` when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is not None:
            until, value = entry
            if self._clock() < until:
                self._entries.move_to_end(key)
                self._hits += 1
                return value
            del self._entries[key]
            self._expired += 1
        self._misses += 1
        return default

    def set(self, key: K, value: V, *, ttl_s: float | None = None) -> None:
        """Keep a value, in place of an earlier one; the oldest in use gives way when full."""
        until = self._clock() + (self._ttl_s if ttl_s is None else ttl_s)
        self._entries[key] = (until, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self._evicted += 1

    def delete(self, key: K) -> bool:
        """Forget a value; whether there was one."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def statistics(self) -> TTLStatistics:
        """Counts so far; `entries` includes those expired and not met since."""
        return TTLStatistics(
            entries=len(self._entries),
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            evicted=self._evicted,
        )


class CacheStore(Protocol):
    """Where cached answers lie. Raises errors of `ultrafast.errors` when it can't."""

    def get(self, namespace: str, key: str) -> bytes | None:
        """The bytes, or None."""
        ...

    def set(self, namespace: str, key: str, value: bytes, *, ttl_s: float | None = None) -> object:
        """Keep bytes, for `ttl_s` seconds."""
        ...


class LocalStore:
    """A `CacheStore` in this process, over a `TTLMap`.

    Parameters
    ----------
    max_entries : int
        How many are kept.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self, *, max_entries: int = 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._map: TTLMap[tuple[str, str], bytes] = TTLMap(max_entries=max_entries, clock=clock)

    def get(self, namespace: str, key: str) -> bytes | None:
        """The bytes, or None."""
        return self._map.get((namespace, key))

    def set(self, namespace: str, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep bytes, for `ttl_s` seconds."""
        self._map.set((namespace, key), value, ttl_s=ttl_s)


def request_key(request: ModelRequest) -> str:
    """A name for everything that decides the answer: the same request, the same key.

    Deadlines, retries and turns are left out, because they change whether there is an answer and
    not which.

    Parameters
    ----------
    request : ModelRequest

    Returns
    -------
    str
        Forty hexadecimal digits.
    """
    decisive = (
        _FORMAT,
        request.model,
        request.system,
        request.messages,
        request.max_tokens,
        request.effort,
    )
    data = msgspec.json.encode(decisive, order="deterministic")
    return hashlib.blake2b(data, digest_size=20).hexdigest()


class CacheStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a `ResultCache` has done.

    Attributes
    ----------
    hits, misses, stored : int
        Answers found, not found, and kept.
    errors : int
        Failures of the store, and entries that could not be read.
    """

    hits: int
    misses: int
    stored: int
    errors: int


class ResultCache:
    """Completions in a `CacheStore`, each for a time.

    A store that is full or broken costs the cache's help, never the task: its errors are counted
    and taken for a miss.

    Parameters
    ----------
    store : CacheStore
    ttl_s : float
        How long an answer may be used again.
    namespace : str
        Where in the store they lie.
    """

    def __init__(
        self, store: CacheStore, *, ttl_s: float = 3600.0, namespace: str = "executor.results"
    ) -> None:
        if ttl_s <= 0:
            raise ValueError(f"ttl_s is {ttl_s}; it must be positive")
        self._store = store
        self._ttl_s = ttl_s
        self._namespace = namespace
        self._decoder = msgspec.msgpack.Decoder(Completion)
        self._hits = self._misses = self._stored = self._errors = 0

    def get(self, key: str) -> Completion | None:
        """The completion kept under a `request_key`, or None."""
        try:
            data = self._store.get(self._namespace, key)
            completion = None if data is None else self._decoder.decode(data)
        except (UltrafastError, msgspec.MsgspecError):
            self._errors += 1
            completion = None
        if completion is None:
            self._misses += 1
        else:
            self._hits += 1
        return completion

    def set(self, key: str, completion: Completion) -> None:
        """Keep a completion."""
        try:
            data = msgspec.msgpack.encode(completion)
            self._store.set(self._namespace, key, data, ttl_s=self._ttl_s)
        except UltrafastError:
            self._errors += 1
        else:
            self._stored += 1

    def statistics(self) -> CacheStatistics:
        """Counts so far."""
        return CacheStatistics(
            hits=self._hits, misses=self._misses, stored=self._stored, errors=self._errors
        )


class _Flight(Generic[T]):
    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[T]):
    """Makes a call once for all who ask for it while it is under way.

    The call runs in a task of its own, so whoever gives up leaves it to the others; when the last
    one has given up it is cancelled, and that one waits until it has ended.

    Notes
    -----
    Threads: one event loop.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: str, make: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The call's result, and whether somebody else had begun it.

        Parameters
        ----------
        key : str
            What makes two calls the same.
        make : callable
            Begins the call; only used when none is under way.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(_as_coroutine(make)))
            flight.task.add_done_callback(lambda task: self._ended(key, task))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task), joined
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.task.done():
                # Out of the table first: who comes now must not join a call that is ending.
                self._forget(key, flight.task)
                flight.task.cancel()
                await asyncio.wait({flight.task})

    def _forget(self, key: str, task: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # seen, even if everybody has left: asyncio need not complain


async def _as_coroutine(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
