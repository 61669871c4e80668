"""What a region is made of: numbers of things, chosen once, when it is created.

Stands on msgspec. Does not decide how a Config becomes sizes, nor whether sizes make sense
together: the core refuses those that do not.
"""

from __future__ import annotations

import msgspec

__all__ = ["Sizes"]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How many of everything a region holds.

    Attributes
    ----------
    owners : int
        Processes attached at a time, at most 1022.
    buckets, extensions : int
        Of the table: lines of seven entries, and lines of eight more for those that overflow.
    queues, queue_capacity : int
        Queues, and messages in each of a queue's four lanes (a power of two).
    agents, types, warm : int
        Agent records, agent types, and warm agents a type (a power of two).
    shards : int
        Copies of the metrics; with one for each busy process, none contend.
    settings_bytes : int
        Room for the creator's settings.
    message_blocks, value_blocks : tuple of (int, int)
        Block size with its 64-byte head, and how many blocks, sizes growing; at most twelve.
    """

    owners: int = 64
    buckets: int = 16_384
    extensions: int = 4_096
    queues: int = 64
    queue_capacity: int = 16_384
    agents: int = 10_000
    types: int = 64
    warm: int = 1_024
    shards: int = 8
    settings_bytes: int = 16_384
    message_blocks: tuple[tuple[int, int], ...] = (
        (256, 40_000),
        (1_024, 8_000),
        (8_192, 1_500),
        (65_536, 256),
        (1_048_640, 16),
    )
    value_blocks: tuple[tuple[int, int], ...] = (
        (256, 65_536),
        (1_024, 16_384),
        (8_192, 1_024),
        (65_536, 128),
        (1_048_704, 8),
    )
