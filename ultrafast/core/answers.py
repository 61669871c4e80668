"""What the doors answer when one number is not enough: plain named tuples.

Stands on nothing. Does not know where they come from.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "AgentInfo",
    "BlockCount",
    "Census",
    "Entry",
    "ItemInfo",
    "OwnerInfo",
    "Recovery",
    "traceparent_of",
]

_TRACE_BYTES: Final = 32


class OwnerInfo(NamedTuple):
    """A process slot of a region.

    `phase` is `PHASE_FREE`, `PHASE_LIVE` or `PHASE_DEAD`; a slot that says LIVE may have died
    since, see `Region.alive`. `queue` is the index of its inbox. `started_ns` is wall clock,
    `heartbeat_ns` CLOCK_MONOTONIC, and `pid` is for people: it may be of another namespace.
    """

    slot: int
    phase: int
    role: int
    queue: int | None
    incarnation: int
    pid: int
    heartbeat_ns: int
    started_ns: int


class Recovery(NamedTuple):
    """What recovery of one dead process mended."""

    slot: int
    unclaimed: int
    """Messages whose claim was undone: they stand in their queue again."""
    orphaned: int
    """Messages it had taken, waiting for the queue's next receiver."""
    dropped: int
    """Messages it had taken that were sent at most once."""
    freed_messages: int
    """Blocks for messages that it had otherwise."""
    emptied_entries: int
    """Reservations undone and deletes finished in the table."""
    freed_values: int
    """Blocks for values that it had."""
    freed_agents: int
    """Agents it was building."""
    stopped_agents: int
    """Agents it was starting."""
    warm_agents: int
    """Warm agents that can be claimed again, those that could be before included."""


class BlockCount(NamedTuple):
    """One size class of a pool. Blocks in processes' caches do not count as free."""

    block_bytes: int
    blocks: int
    free: int


class Entry(NamedTuple):
    """A stored entry: its value, and what goes with it."""

    value: object
    tag: int
    stamp: int
    expires_ns: int


class AgentInfo(NamedTuple):
    """An agent's record, as it was at one moment."""

    id: int
    state: int
    type: int
    worker: int
    priority: int
    depth: int
    limit: int
    handled: int
    failed: int
    restarts: int
    touched_ns: int
    spawned_ns: int
    parent: int
    left: int
    """While it moves, the queue of the worker that it leaves, or has left; else as `worker`."""


class Census(NamedTuple):
    """How many agents of a type there are, or of all types together.

    `alive` are those spawned and not ended, `most` how many they may be (0: any number). `target`
    is the number of warm agents that the manager wants; `claimed` and `cold` count the agents
    that were spawned warm and the others, from the system's start.
    """

    alive: int
    warm: int
    building: int
    most: int
    target: int
    claimed: int
    cold: int


class ItemInfo(NamedTuple):
    """What came beside a body that was taken from a queue."""

    id: int
    """Unique over the system."""
    sender: int
    """An agent's id, or 0."""
    priority: int
    """The lane, 0 first."""
    attempt: int
    """Deliveries before this one, which deaths cut short."""
    redelivered: bool
    sent_ns: int
    """Intended send time, CLOCK_MONOTONIC."""
    trace: bytes | None = None
    """The trace that it was put in, as it travels."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was put in; None outside any."""
        return traceparent_of(self.trace)


def traceparent_of(trace: bytes | None) -> str | None:
    """The `traceparent` of a trace that travelled; None for bytes that are none.

    It travels as [ trace id 16 | span id 8 | flags 1 | version 1 | zeros 6 ], numbers in network
    order.

    >>> traceparent_of(bytes(range(1, 26)) + bytes(7))
    '00-0102030405060708090a0b0c0d0e0f10-1112131415161718-19'
    >>> traceparent_of(bytes(32)) is None
    True
    """
    if trace is None or len(trace) != _TRACE_BYTES or any(trace[25:]):
        return None
    if not any(trace[:16]) or not any(trace[16:24]):
        return None
    return f"00-{trace[:16].hex()}-{trace[16:24].hex()}-{trace[24]:02x}"
