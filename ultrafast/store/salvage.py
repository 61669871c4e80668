"""Reading segments out of a snapshot file whose structure is damaged: `salvage`.

A segment begins with a mark and a checksummed head that says how long it is, so it can be found
wherever it lies, without LMDB. Of two with the same number, the one made later counts, and of
copies that a page given up still holds, the one with the least damage; those below the newest
floor were dropped before the file was damaged. Stands on the doors.
"""

from __future__ import annotations

import mmap

from ultrafast.core._records import HEAD_BYTES, MAGIC_BYTES, read_head, read_items

__all__ = ["salvage"]


def salvage(path: str) -> list[tuple[int, bytes]]:
    """The segments that a file still holds, oldest first.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of (int, bytes)
        Number and segment; records in them may be damaged, and are judged by their own checksums.

    Raises
    ------
    OSError
        The file can't be read.
    """
    found: dict[int, tuple[tuple[int, int], bytes]] = {}
    floors: dict[int, int] = {}
    unfinished: dict[int, set[int]] = {}
    finished: set[int] = set()
    with open(path, "rb") as file:
        if file.seek(0, 2) == 0:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(MAGIC_BYTES)
            while at >= 0:
                head = read_head(data[at : at + HEAD_BYTES])
                if head is not None:
                    segment, _, floor, first, last, made_ns, total = head
                    whole = data[at : at + total] if total >= HEAD_BYTES else b""
                    rank = (made_ns, -_damage(whole, segment))
                    if whole and (segment not in found or rank > found[segment][0]):
                        found[segment] = (rank, whole)
                        floors[segment] = floor
                        unfinished.setdefault(first, set()).add(segment)
                        if last:
                            finished.add(first)
                at = data.find(MAGIC_BYTES, at + 1)
    if not found:
        return []
    # Of the newest snapshot, some pages may have been written when it was cut short: it never was.
    newest = max(unfinished)
    if newest not in finished and len(unfinished) > 1:
        for segment in unfinished.pop(newest):
            if segment >= newest:
                found.pop(segment, None)
    floor = floors[max(found)] if found else 0
    return [(segment, found[segment][1]) for segment in sorted(found) if segment >= floor]


def _damage(data: bytes, segment: int) -> int:
    """How many places of a segment hold no sound record."""
    count = 0
    offset: int | None = HEAD_BYTES
    while offset is not None:
        items, offset = read_items(data, segment, offset)
        count += sum(item[1] == 0 for item in items)
    return count
