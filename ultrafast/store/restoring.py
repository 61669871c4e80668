"""Segments back into a table: `load`, in the order in which they were written.

A log is longer than what lives in it, so that for a while there may be more entries than the store
has room for. What finds none waits until the rest is there; and where the store is smaller than it
was, entries of caches go. Stands on the recorder's door. Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

from ultrafast.core import Declared, Table
from ultrafast.core._records import HEAD_BYTES, read_head
from ultrafast.core._snapshot import Recorder
from ultrafast.core._status import CORRUPT, NO_BLOCK, OK, STORE_FULL
from ultrafast.errors import StoreFull
from ultrafast.store.declarations import Declarations
from ultrafast.store.reports import DamagedEntry, RestoreReport
from ultrafast.store.room import Room

__all__ = ["load"]

_DAMAGE_TOLD = 1000
_ROOM_TRIES = 64


def load(
    table: Table,
    recorder: Recorder,
    declarations: Declarations,
    segments: list[tuple[int, Any]],
    path: str,
    now_ns: int,
) -> RestoreReport:
    """Restore what segments hold, and what they declare.

    Parameters
    ----------
    table : Table
    recorder : Recorder
        Of the table.
    declarations : Declarations
        Of the table's region.
    segments : list of (int, bytes-like)
        Numbers and segments, oldest first.
    path : str
        Of the file, for errors.
    now_ns : int
        Wall clock.

    Returns
    -------
    RestoreReport

    Raises
    ------
    StoreFull
        The store has no room for all of it, and what more may go.
    """
    damaged: list[DamagedEntry] = []
    count = made_ns = 0
    recorder.open(segments)
    try:
        for index, (number, data) in enumerate(segments):
            head = read_head(data)
            made_ns = max(made_ns, head[5] if head is not None else 0)
            offset: int | None = HEAD_BYTES
            while offset is not None:
                offset, names, status = recorder.restore(index, offset, now_ns)
                if status == OK:
                    break
                if status != CORRUPT:
                    raise _no_room(path, names, recorder.live)
                count += 1
                if len(damaged) < _DAMAGE_TOLD:
                    damaged.append(_damaged(names, number))
        namespaces = declarations.recall()
        evicted = _rest(table, recorder, path, now_ns)
    finally:
        recorder.close()
    return RestoreReport(
        path=path,
        entries=table.count() if evicted else recorder.live,
        expired=recorder.expired,
        namespaces=namespaces,
        evicted=evicted,
        segments=len(segments),
        made_ns=made_ns,
        damaged=damaged,
        damaged_count=count,
    )


def _rest(table: Table, recorder: Recorder, path: str, now_ns: int) -> int:
    """Restore what found no room, perhaps in the place of entries of caches: how many went."""
    declared = Declared(table.region)
    room = Room(table, declared)
    before, _ = declared.counted()
    tries, last = 0, None
    while (left := recorder.again(now_ns)) is not None:
        names, nbytes, status = left
        tries = tries + 1 if names == last else 1
        last = names
        full = status in (NO_BLOCK, STORE_FULL) and tries <= _ROOM_TRIES
        if names is None or not full or not room.make(names[0], names[1], nbytes):
            raise _no_room(path, names, recorder.live)
    return declared.counted()[0] - before


def _damaged(names: tuple[str, str] | None, segment: int) -> DamagedEntry:
    if names is None:
        return DamagedEntry(
            namespace=None, key=None, segment=segment, reason="the record's head or names"
        )
    return DamagedEntry(
        namespace=names[0], key=names[1], segment=segment, reason="the value's checksum"
    )


def _no_room(path: str, names: tuple[str, str] | None, live: int) -> StoreFull:
    return StoreFull(
        f"snapshot {path}: the store has no room for {names}, after {live:,} entries; raise "
        "memory_store_size to what it was when the snapshot was made"
    )
