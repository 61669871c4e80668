"""What the numbers in a message's head mean to the runtime: kinds, operations, priorities, ids.

Stands on nothing. The core carries these numbers and does not know their meaning.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "CONTROL_LANE",
    "LANES",
    "PRIORITIES",
    "REPLY_LANE",
    "Kind",
    "Operation",
    "Reason",
    "first_correlation",
    "lane_of",
    "origin_of",
]


class Kind(IntEnum):
    """What a message is."""

    DATA = 0
    REPLY = 1
    ERROR = 2
    CONTROL = 3
    PUBLISH = 4
    TASK = 5
    PING = 6


class Operation(IntEnum):
    """What a CONTROL message asks of a host; it stands in the message's `extra`."""

    START = 1
    STOP = 2
    STOP_NOW = 3
    WARM = 4


class Reason(IntEnum):
    """Why a message is a dead letter; it stands in the letter's `extra`."""

    UNKNOWN = 0
    AGENT_GONE = 1
    AGENT_STOPPED = 2
    UNREADABLE = 3
    QUEUE_CLOSED = 4
    REPLY_REFUSED = 5
    UNEXPECTED = 6


PRIORITIES: Final = {"critical": 0, "high": 1, "normal": 2, "low": 3}
LANES: Final = len(PRIORITIES)
CONTROL_LANE: Final = 1
REPLY_LANE: Final = 1

# A correlation is [ process slot 10 | start 18 | count 36 ]: unique over the processes of a region
# and, but for a wrap of one of its parts, over the processes that used the slot before.
_SLOT_SHIFT: Final = 54


def origin_of(correlation: int) -> int:
    """The process slot that made a correlation.

    >>> origin_of((3 << 54) | 77)
    3
    """
    return correlation >> _SLOT_SHIFT


def first_correlation(slot: int, incarnation: int) -> int:
    """Where a process begins to count."""
    return (slot << _SLOT_SHIFT) | ((incarnation & 0x3FFFF) << 36) | 1


def lane_of(priority: str | int) -> int:
    """The lane of a priority, given by name or number.

    Parameters
    ----------
    priority : {"critical", "high", "normal", "low"} or int
        Or the lane's number, 0 (first served) to 3.

    Raises
    ------
    ValueError
        For any other.
    """
    if isinstance(priority, int):
        if 0 <= priority < len(PRIORITIES):
            return priority
    elif priority in PRIORITIES:
        return PRIORITIES[priority]
    known = ", ".join(PRIORITIES)
    raise ValueError(f"priority {priority!r} is none of {known}, nor a lane from 0 to 3")
