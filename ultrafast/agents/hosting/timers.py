"""Timers of agents: calls that take their turn among an agent's messages, once or again and again.

Stands on the event loop. Who runs a call when its time has come is the host's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ultrafast.errors import InvalidArgument

__all__ = ["Due", "Timer"]


class Due:
    """A call whose time has come, where it waits for its turn."""

    __slots__ = ("call", "timer")

    def __init__(self, timer: Timer, call: Callable[[], Any]) -> None:
        self.timer = timer
        self.call = call


class Timer:
    """A call to come; made by `Agent.every` and `Agent.after`.

    Parameters
    ----------
    timers : set of Timer
        Those of the agent; it is in there until it is over.
    fire : callable
        Called with a `Due` when its time has come.
    seconds : float
    call : callable
        Without arguments; plain or async.
    again : bool
        Whether it comes again, and again.
    """

    __slots__ = ("_again", "_call", "_fire", "_handle", "_seconds", "_timers", "_waiting")

    def __init__(
        self,
        timers: set[Timer],
        fire: Callable[[Due], None],
        seconds: float,
        call: Callable[[], Any],
        again: bool,
    ) -> None:
        if not (0.0 if not again else 0.001) <= seconds <= 1e9 or not callable(call):
            raise InvalidArgument(
                f"a timer of {seconds!r} seconds that calls {call!r}: allowed is a callable, and 0 "
                "(0.001 for one that comes again) to 1e9 seconds"
            )
        self._timers = timers
        self._fire = fire
        self._seconds = seconds
        self._call = call
        self._again = again
        self._waiting = False
        timers.add(self)
        self._handle = asyncio.get_running_loop().call_later(seconds, self._over)

    def cancel(self) -> None:
        """It comes no more. May be called twice."""
        self._handle.cancel()
        self._again = False
        self._timers.discard(self)

    @property
    def active(self) -> bool:
        """Whether it is to come."""
        return self in self._timers

    def _over(self) -> None:
        if self._again:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._over)
            if self._waiting:
                return  # the agent was too busy for the last one: they don't pile up
        self._waiting = True
        self._fire(Due(self, self._run))

    def _run(self) -> Any:
        self._waiting = False
        if self not in self._timers:
            return None  # cancelled while it waited for its turn
        if not self._again:
            self._timers.discard(self)
        return self._call()
