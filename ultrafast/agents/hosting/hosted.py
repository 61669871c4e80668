"""What a host keeps of an agent, and of messages that came again after a death.

Stands on the shared table: how often a message was begun and not ended must outlive the process
that began it. It delivers nothing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from ultrafast.agents.agent import Agent, runs_in_thread
from ultrafast.agents.hosting.timers import Due, Timer
from ultrafast.bus.wire import Operation, Reason
from ultrafast.core import Message, Seat, Table

__all__ = ["Hosted", "Repeats"]

_SPACE: Final = "ultrafast.bus"
# A count is forgotten when its message has not come again for so long.
_KEPT_NS: Final = 3_600_000_000_000


class Hosted(Seat):
    """An agent and what waits for it; a seat has the places for it.

    Attributes
    ----------
    agent : Agent
    busy : bool
        It can take no message now.
    mailbox : deque of Message or Due, optional
    markers : list of Message, optional
        Orders to stop. Kept, not released: if this process dies, its successor gets them again.
    stopping : bool
        It is to stop when nothing waits.
    subscriptions : list, optional
        What to close with the agent.
    timers : set of Timer, optional
    running, limit : int
        Handlers that are suspended, and how many may be; a limit of 0 is one.
    fallen : str, optional
        Why it failed, or "" when it ends itself; acted upon when its handlers have ended.
    """

    __slots__ = ()

    agent: Agent
    mailbox: deque[Message | Due] | None
    markers: list[Message] | None
    subscriptions: list[Any] | None
    timers: set[Timer] | None
    fallen: str | None

    @property
    def is_cut_short(self) -> bool:
        """Whether it is to stop at once, whatever it waits for; a thread can't be stopped."""
        if not self.stopping or runs_in_thread(self.agent):
            return False
        return any(order.extra == Operation.STOP_NOW for order in self.markers or ())

    def let_go(self) -> None:
        """End what belongs to the object: it is to be replaced, or not needed any more."""
        for each in self.subscriptions or ():
            each.close()
        for timer in list(self.timers or ()):
            timer.cancel()
        self.subscriptions = self.timers = None


class Repeats:
    """Counts how often a message that came again was begun, so that none goes on for ever.

    Only messages that a dead worker had are looked at. What it had taken and not begun is not
    counted against a message: that a successor begins it, and dies, is.

    Parameters
    ----------
    table : Table
    limit : int
        For types without one of their own.
    """

    def __init__(self, table: Table, limit: int) -> None:
        self._table = table
        self._limit = limit
        self._limits: dict[str, int] = {}

    def set_limit(self, type_name: str, limit: int | None) -> None:
        """How often messages of a type's agents may come again; None for the default."""
        self._limits[type_name] = self._limit if limit is None else limit

    def is_never(self, type_name: str) -> bool:
        """Whether no message of a type's agents may come again."""
        return self._limits.get(type_name, self._limit) == 0

    def begin(self, message: Message, type_name: str) -> Reason | None:
        """Why a message that came again must not be handled; None, and it counts as begun."""
        limit = self._limits.get(type_name, self._limit)
        if limit == 0:
            return Reason.NOT_REPEATED
        key = _key(message)
        before = self._table.get(_SPACE, key)
        begun = before if isinstance(before, int) else 0
        if begun >= limit:
            self._table.delete(_SPACE, key)
            return Reason.POISONOUS
        if self._table.set(_SPACE, key, begun + 1, time.time_ns() + _KEPT_NS):
            return None
        # No room to count it: the deaths that it was part of are counted in its head.
        return Reason.POISONOUS if message.attempt > limit else None

    def end(self, message: Message) -> None:
        """It was handled, however that ended."""
        self._table.delete(_SPACE, _key(message))


def _key(message: Message) -> str:
    return f"begun-{message.correlation:x}"
