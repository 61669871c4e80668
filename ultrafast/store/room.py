"""Room in a store that is full: what may go is taken away, and what can't be is said in figures.

Stands on the doors of the table and of declarations. Writes nothing.
"""

from __future__ import annotations

from ultrafast.core import Declared, Table
from ultrafast.errors import StoreFull

__all__ = ["Room"]

_HEAD = 64
_TRIED = 3  # sizes that the core tries for one value
_STEPS = 4096  # blocks looked at without a pause, some 100 microseconds
_UNDECLARED_STEPS = 8192  # where only entries whose time is over can go
_AT_ONCE = 16  # entries taken away together, so that not every write looks for itself
_SHARE = 64  # ... but never more than one in so many blocks


class Room:
    """Finds room in one store.

    Parameters
    ----------
    table : Table
    declared : Declared
        Of the same region.
    """

    def __init__(self, table: Table, declared: Declared) -> None:
        self._table = table
        self._declared = declared
        self._classes: list[tuple[int, int]] | None = None

    def make(self, namespace: str, key: str, nbytes: int) -> bool:
        """Take entries away that may go, until a value may have room.

        Those whose time is over, and of namespaces that are caches those not read for longest.

        Parameters
        ----------
        namespace, key : str
            Of the value that found none.
        nbytes : int
            Its bytes.

        Returns
        -------
        bool
            False: nothing may go that would help it.
        """
        declared = self._declared
        any_declared = declared.any()
        for index, _, count in self._fitting(namespace, key, nbytes):
            # Twice around: the first time may only find what was read since the last.
            left = 2 * count + 1 if any_declared else min(count, _UNDECLARED_STEPS)
            want = max(1, min(_AT_ONCE, count // _SHARE))
            while left > 0:
                if any(declared.sweep(index, min(left, _STEPS), want)):
                    return True
                left -= _STEPS
        return any(declared.sweep_bucket(namespace, key))

    def full(self, namespace: str, key: str, nbytes: int) -> StoreFull:
        """The error for a value that has no room."""
        blocks = self._table.blocks()
        fitting = self._fitting(namespace, key, nbytes)
        total = sum(each.block_bytes * each.blocks for each in blocks)
        used = total - sum(each.block_bytes * each.free for each in blocks)
        text = f"no room for {namespace!r} {key!r}, a value of {nbytes:,} bytes: "
        if any(blocks[index].free for index, _, _ in fitting):
            text += (
                f"the places for its key in the table are taken, {self._table.count():,} entries "
                "in all"
            )
        else:
            sizes = ", ".join(
                f"{blocks[index].free} of {count:,} of {size:,} bytes"
                for index, size, count in fitting
            )
            text += f"of the blocks that it fits into, free are {sizes}"
        return StoreFull(
            f"{text}; the store is {100 * used / total:.0f} % full ({used:,} of {total:,} bytes). "
            "Delete what is not needed, declare namespaces that may lose entries as caches, or "
            "raise memory_store_size"
        )

    def _fitting(self, namespace: str, key: str, nbytes: int) -> list[tuple[int, int, int]]:
        """(index, block_bytes, blocks) of the sizes that the core tries for a value."""
        if self._classes is None:
            self._classes = self._declared.classes()
        names = len(namespace.encode()) + len(key.encode())
        needed = _HEAD + names + -names % 8 + nbytes
        sizes = [
            (index, size, count)
            for index, (size, count) in enumerate(self._classes)
            if size >= needed and count
        ]
        return sizes[:_TRIED]
