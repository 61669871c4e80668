"""The numbers of the shared histograms and counters: what each place in the region counts.

Stands on nothing. Numbers are never given to another thing, because processes of two versions may
share a region.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Counter", "Histogram"]


class Histogram(IntEnum):
    """Histograms, all of nanoseconds."""

    SPAWN_WARM = 0
    """From the call to a live id, where a warm agent waited."""
    SPAWN_COLD = 1
    """The same, where the agent had to be built."""
    COMMUNICATION = 3
    """From the intended send to the handler's start, in another process."""
    LOCAL_COMMUNICATION = 4
    """The same, within one process."""
    REQUEST = 5
    """From a request's call to its answer."""
    TASK = 6
    """A task's execution."""
    PUBLISH = 10
    """From the call of `publish` to its return."""


class Counter(IntEnum):
    """Counters; all only grow."""

    SENT = 0
    """Messages that a caller tried to send."""
    REFUSED = 1
    """Of those: not accepted, and the caller was told."""
    DELIVERED = 2
    """Messages whose handling has ended, well or not; after a death still once."""
    DEAD_LETTERED = 3
    """Accepted messages that could not be delivered."""
    REDELIVERED = 4
    """Messages handed out again after their first receiver died."""
    HANDLED = 5
    """Messages whose handler returned."""
    FAILED = 6
    """Messages whose handler raised."""
    SPAWNED = 7
    """Agents that became live."""
    TERMINATED = 8
    """Agents that ended."""
    REPLIES = 9
    """Answers to requests."""
    TASKS_OK = 10
    """Tasks with a result."""
    TASKS_FAILED = 11
    """Tasks without."""
    WORKER_DEATHS = 12
    """Workers that died or were taken for dead."""
    RESTARTED = 13
    """Agents built again after their worker's death or their own failure."""
    EXPIRED = 14
    """Requests whose deadline passed before their answer came."""
    PUBLISHED = 15
    """Publications."""
    INPUT_TOKENS = 16
    """Tokens sent to the model."""
    OUTPUT_TOKENS = 17
    """Tokens that the model answered."""
    CACHE_HITS = 18
    """Tasks answered from the cache."""

    OVERDUE = 19
    """Messages and publications whose time to live ended before they were handled."""
    DROPPED = 20
    """Publications that a subscription's full buffer pushed out, its oldest first."""
    LETTERS_LOST = 21
    """Dead letters pushed out of their full queue by newer ones."""
    BLOCKED = 22
    """Times that an agent blocked its loop for longer than `Config.blocking_warning_ms`."""
    RECYCLED = 23
    """Workers replaced because they took more than `Config.worker_memory_bytes`."""
    MOVED = 24
    """Agents that changed their worker."""
