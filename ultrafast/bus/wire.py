"""What the numbers in a message's head mean to the runtime: kinds, operations, priorities, ids.

Stands on the errors, and on a door for the place of a message's origin in its number. The core
carries all other numbers and does not know their meaning.
"""

from __future__ import annotations

import math
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ultrafast.core._sender import ORIGIN_SHIFT
from ultrafast.errors import InvalidArgument

if TYPE_CHECKING:
    from ultrafast.core import Message

__all__ = [
    "CONTROL_LANE",
    "LANES",
    "PRIORITIES",
    "REPLY_LANE",
    "Kind",
    "Operation",
    "Reason",
    "first_correlation",
    "is_overdue",
    "lane_of",
    "origin_of",
    "ttl_ms_of",
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
    EVENT = 7
    WORK = 8
    LETTER = 9
    ENDED = 10


class Operation(IntEnum):
    """What a CONTROL message asks of a host; it stands in the message's `extra`."""

    START = 1
    STOP = 2
    STOP_NOW = 3
    WARM = 4
    ROLL = 5
    FAIL = 6
    CANCEL = 7
    MOVE = 8
    SHED = 9
    END = 10


class Reason(IntEnum):
    """Why a message is a dead letter; it stands in the letter's `extra`."""

    UNKNOWN = 0
    AGENT_GONE = 1
    AGENT_STOPPED = 2
    UNREADABLE = 3
    QUEUE_CLOSED = 4
    REPLY_REFUSED = 5
    UNEXPECTED = 6
    EXPIRED = 7
    POISONOUS = 8
    NOT_REPEATED = 9
    REJECTED = 10
    NO_MEMBER = 11
    SLOW_CONSUMER = 12
    QUEUE_DELETED = 13


PRIORITIES: Final = {"critical": 0, "high": 1, "normal": 2, "low": 3}
LANES: Final = len(PRIORITIES)
CONTROL_LANE: Final = 1
REPLY_LANE: Final = 1

# A correlation is [ process slot 10 | start 18 | count 36 ]: unique over the processes of a region
# and, but for a wrap of one of its parts, over the processes that used the slot before.
# The core's doors know the place of the slot as well.
_SLOT_SHIFT: Final = ORIGIN_SHIFT


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


_TTL_MS_MAX: Final = 0xFFFF_FFFF


def ttl_ms_of(ttl_s: float | None) -> int:
    """What stands in `extra` of a message that must be handled within a time of its sending.

    Parameters
    ----------
    ttl_s : float, optional
        Rounded up to milliseconds. None is for ever, and 0 in the head.

    Raises
    ------
    InvalidArgument
        It is no positive number of seconds, or more than 49 days.

    Examples
    --------
    >>> ttl_ms_of(None), ttl_ms_of(0.0001), ttl_ms_of(1.5)
    (0, 1, 1500)
    """
    if ttl_s is None:
        return 0
    if not 0.0 < ttl_s <= _TTL_MS_MAX / 1000:
        raise InvalidArgument(
            f"ttl_s is {ttl_s!r}; allowed is None (for ever) or more than 0 and at most "
            f"{_TTL_MS_MAX // 1000} seconds"
        )
    return max(1, math.ceil(ttl_s * 1000))


def is_overdue(message: Message) -> bool:
    """Whether a message's time to live, counted from its intended send time, is over."""
    ttl_ms = message.extra
    # The clock of CLOCK_MONOTONIC, as `sent_ns` is.
    return ttl_ms != 0 and time.monotonic_ns() > message.sent_ns + ttl_ms * 1_000_000
