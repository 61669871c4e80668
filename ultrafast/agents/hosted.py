"""What a host keeps of an agent, and of messages that came again after a death.

Stands on the shared table: how often a message was begun and not ended must outlive the process
that began it. It delivers nothing.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from ultrafast.agents.agent import Agent
from ultrafast.bus.wire import Reason
from ultrafast.core import Message, Seat, Table

__all__ = ["Hosted", "Repeats"]

_SPACE: Final = "ultrafast.bus"
# A count is forgotten when its message has not come again for so long.
_KEPT_NS: Final = 3_600_000_000_000


class Hosted(Seat):
    """An agent and what waits for it."""

    __slots__ = ("mailbox", "markers", "stopping", "subscriptions")

    agent: Agent

    def __init__(self, agent: Agent, agent_id: int) -> None:
        super().__init__(agent, agent_id)
        self.mailbox: deque[Message] | None = None
        # Kept, not released: if this process dies, its successor gets them again.
        self.markers: list[Message] | None = None
        self.stopping = False
        self.subscriptions: list[Any] | None = None


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
