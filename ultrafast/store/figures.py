"""What a store holds, in figures: of all of it, and of one namespace.

Stands on msgspec and the core's answers. Counts nothing itself.
"""

from __future__ import annotations

import msgspec

from ultrafast.core import BlockCount

__all__ = ["NamespaceStatistics", "StoreStatistics"]


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds, as counted in one pass while others go on writing.

    Reads are not counted, found or not: a count that all processes share would cost each read more
    than the read itself. Snapshots are counted by their own `statistics()` (`manager.persistence`).

    Attributes
    ----------
    entries : int
        Expired ones that were not swept included.
    bytes_total, bytes_free : int
        Of all blocks for values, and of those in use by nobody.
    blocks : list of BlockCount
        By size: a value takes the smallest that it and its key fit into, or a larger one.
    evicted : int
        Entries of caches that a full store took back, by all processes, since the region was made.
    expired : int
        Entries removed because their time was over. One that was written over is not counted.
    namespaces : list of str
        Those that are declared.
    """

    entries: int
    bytes_total: int
    bytes_free: int
    blocks: list[BlockCount]
    evicted: int
    expired: int
    namespaces: list[str]


class NamespaceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one namespace holds, as counted in one pass over the store.

    Attributes
    ----------
    entries : int
        Those whose time is not over.
    bytes : int
        Of their names and values, without the blocks they lie in.
    cache : bool
        Whether a full store may take its entries back.
    ttl_s : float or None
        How long entries live that bring no time of their own.
    evicted, expired : int
        As of the store; counted for declared namespaces only, 0 for others.
    """

    entries: int
    bytes: int
    cache: bool
    ttl_s: float | None
    evicted: int
    expired: int
