"""Limits that all processes of a system share: `SharedSemaphore`, `TokenBucket`.

Stands on the store alone: a limit is an entry, changed by compare-and-set. What a process that died
had taken comes back by itself after a stated time. Orders nobody: who asks again gets what is free.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from ultrafast.errors import InvalidArgument, Timeout
from ultrafast.store.store import UltraFastMemoryStore

__all__ = ["SharedSemaphore", "TokenBucket"]

_NAMESPACE: Final = "ultrafast.limits"
_LOOK_S: Final = 0.005  # between two looks of one who waits, at first
_LOOK_MAX_S: Final = 0.1
_HOLDERS_MAX: Final = 4096


class TokenBucket:
    """So many a second over all processes, and so many at once.

    Parameters
    ----------
    store : UltraFastMemoryStore
    name : str
        Who gives the same name has the same bucket; all give it the same rate and burst.
    rate_per_s : float
        Tokens that come each second.
    burst : float
        Tokens that there are at most, and to begin with.
    clock : callable
        Wall clock in nanoseconds, the same in all processes.

    Notes
    -----
    Threads and processes: any. A process that dies costs the tokens it took, which come again. A
    clock that is set back gives no tokens until it has passed where it was, at most a full bucket's
    time.

    Examples
    --------
    >>> async def ask(store):  # doctest: +SKIP
    ...     await TokenBucket(store, "requests", rate_per_s=50, burst=100).take(timeout_s=1.0)
    """

    def __init__(
        self,
        store: UltraFastMemoryStore,
        name: str,
        *,
        rate_per_s: float,
        burst: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not (0 < rate_per_s < math.inf and 0 < burst < math.inf):
            raise InvalidArgument(
                f"bucket {name!r}: rate_per_s is {rate_per_s} and burst {burst}; both must be more "
                "than 0"
            )
        self.name = name
        self._store = store
        self._key = f"bucket {name}"
        self._rate = float(rate_per_s)
        self._burst = float(burst)
        self._clock = clock

    def take_nowait(self, tokens: float = 1.0) -> bool:
        """Take tokens, if so many are there.

        Parameters
        ----------
        tokens : float
            More than 0, up to the burst.

        Returns
        -------
        bool

        Raises
        ------
        InvalidArgument
            There are never so many.
        """
        return self._take(tokens) <= 0

    async def take(self, tokens: float = 1.0, *, timeout_s: float | None = None) -> None:
        """Take tokens; wait until so many are there.

        Parameters
        ----------
        tokens : float
        timeout_s : float, optional
            How long to wait; None is for ever.

        Raises
        ------
        Timeout
            They would not have been there in time: none were taken, and nobody waited in vain.
        InvalidArgument
            As `take_nowait`.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while (missing_s := self._take(tokens)) > 0:
            if until is not None and time.monotonic() + missing_s > until:
                raise Timeout(
                    f"bucket {self.name!r}: {tokens:g} tokens are there in {missing_s:.3f} s "
                    f"at the earliest, later than the {timeout_s:g} s allowed"
                )
            await asyncio.sleep(min(missing_s, 1.0))

    def tokens(self) -> float:
        """How many there are just now."""
        return self._there(self._store.get(_NAMESPACE, self._key), self._clock())[0]

    def _take(self, tokens: float) -> float:
        """0 when they were taken, else the seconds until there may be so many."""
        if not 0 < tokens <= self._burst:
            raise InvalidArgument(
                f"bucket {self.name!r}: {tokens} tokens asked for; allowed is more than 0, up to "
                f"its burst of {self._burst:g}"
            )
        missing_s = 0.0

        def change(kept: object) -> object:
            nonlocal missing_s
            there, at_ns = self._there(kept, self._clock())
            missing_s = max(0.0, (tokens - there) / self._rate)
            return [there - (0 if missing_s else tokens), at_ns]

        # It is full again, as if it had never been, by then; so nothing is left of unused names.
        full_s = max(1.0, 2 * self._burst / self._rate)
        self._store.update(_NAMESPACE, self._key, change, ttl_s=min(1e9, full_s))
        return missing_s

    def _there(self, kept: object, now_ns: int) -> tuple[float, int]:
        """Tokens, and as of when. What is none of ours, or of the future, is a full bucket."""
        if isinstance(kept, list) and len(kept) == 2:
            tokens, at_ns = kept
            if isinstance(tokens, float | int) and isinstance(at_ns, int):
                passed_s = (now_ns - at_ns) / 1e9
                if -self._burst / self._rate <= passed_s < 0:
                    return min(self._burst, max(0.0, tokens)), at_ns  # set back a little: no tokens
                if passed_s >= 0:
                    grown = max(0.0, tokens) + passed_s * self._rate
                    return min(self._burst, grown), now_ns
        return self._burst, now_ns


class SharedSemaphore:
    """At most so many at a time over all processes.

    Parameters
    ----------
    store : UltraFastMemoryStore
    name : str
        Who gives the same name has the same semaphore; all give it the same limit.
    limit : int
        1 to 4096.
    lease_s : float
        A place is given back by itself after so long: so that the dead keep none. Whoever may need
        it for longer says so by `renew` in time.
    clock : callable
        Wall clock in nanoseconds, the same in all processes.

    Notes
    -----
    Threads and processes: any. Not fair: who looks when a place comes free has it. Cost: the entry
    names each holder, so that limits of thousands cost tens of microseconds a change.

    Examples
    --------
    >>> async def ask(store):  # doctest: +SKIP
    ...     async with SharedSemaphore(store, "model", limit=4, lease_s=60).held():
    ...         ...
    """

    def __init__(
        self,
        store: UltraFastMemoryStore,
        name: str,
        *,
        limit: int,
        lease_s: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if type(limit) is not int or not 1 <= limit <= _HOLDERS_MAX:
            raise InvalidArgument(
                f"semaphore {name!r}: the limit is {limit!r}; allowed is 1 to {_HOLDERS_MAX}"
            )
        if not 0 < lease_s <= 1e9:
            raise InvalidArgument(
                f"semaphore {name!r}: lease_s is {lease_s}; allowed is more than 0, up to 1e9"
            )
        self.name = name
        self.limit = limit
        self._store = store
        self._key = f"semaphore {name}"
        self._lease_s = lease_s
        self._clock = clock

    def acquire_nowait(self) -> str | None:
        """A place, if one is free: the name to give it back by; else None."""
        holder = os.urandom(8).hex()
        return holder if self._change(holder, add=True) else None

    async def acquire(self, *, timeout_s: float | None = None) -> str:
        """A place, once one is free.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait; None is for ever.

        Returns
        -------
        str
            The name to give it back by.

        Raises
        ------
        Timeout
            None came free in time.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _LOOK_S
        while (holder := self.acquire_nowait()) is None:
            if until is not None and time.monotonic() + pause_s > until:
                raise Timeout(
                    f"semaphore {self.name!r}: all {self.limit} places were taken for "
                    f"{timeout_s:g} s"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_MAX_S)
        return holder

    def renew(self, holder: str) -> bool:
        """Have a place for another `lease_s`; False when its time was over, and it is another's."""
        return self._change(holder, add=False, renew=True)

    def release(self, holder: str) -> bool:
        """Give a place back; False when its time was over."""
        return self._change(holder, add=False)

    @asynccontextmanager
    async def held(self, *, timeout_s: float | None = None) -> AsyncIterator[str]:
        """A place for the time of a block.

        Parameters
        ----------
        timeout_s : float, optional
            As `acquire`.
        """
        holder = await self.acquire(timeout_s=timeout_s)
        try:
            yield holder
        finally:
            self.release(holder)

    def holders(self) -> int:
        """How many places are taken just now."""
        return len(self._living(self._store.get(_NAMESPACE, self._key)))

    def _living(self, kept: object) -> dict[str, int]:
        now_ns = self._clock()
        if not isinstance(kept, dict):
            return {}
        return {
            name: until
            for name, until in kept.items()
            if isinstance(name, str) and isinstance(until, int) and until > now_ns
        }

    def _change(self, holder: str, *, add: bool, renew: bool = False) -> bool:
        done = False

        def change(kept: object) -> object:
            nonlocal done
            living = self._living(kept)
            done = len(living) < self.limit if add else holder in living
            if done and (add or renew):
                living[holder] = self._clock() + int(self._lease_s * 1e9)
            elif done:
                del living[holder]
            return living

        self._store.update(_NAMESPACE, self._key, change, ttl_s=self._lease_s)
        return done
