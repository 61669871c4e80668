"""Values of a store read where they lie: what `get_view` does.

Stands on the door that keeps a block, and on the codec. Copies where nobody else can keep an entry.
"""

from __future__ import annotations

import weakref
from typing import Any

from ultrafast.codec import NDARRAY, RAW, VIEW, decode
from ultrafast.core import Held, Table, hold, stamp_of
from ultrafast.core._table import BYTES, FIRST_CODEC_TAG
from ultrafast.errors import InvalidArgument

__all__ = ["Views"]

_BYTES = frozenset({BYTES, FIRST_CODEC_TAG + RAW, FIRST_CODEC_TAG + VIEW})
_ARRAY = FIRST_CODEC_TAG + NDARRAY


class Views:
    """What this process keeps of a table's entries, each once however many views of it live.

    Parameters
    ----------
    table : Table
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._kept: weakref.WeakValueDictionary[int, Held] = weakref.WeakValueDictionary()

    def get(self, namespace: str, key: str, default: Any) -> Any:
        """As `UltraFastMemoryStore.get_view`."""
        if self._table.region.read_only:
            return self._copied(namespace, key, default)
        stamp = stamp_of(self._table, namespace, key)
        held: Held | int | None = self._kept.get(stamp) if stamp else None
        if held is None:
            held = hold(self._table, namespace, key)
        if held is None:
            return default
        if isinstance(held, int):  # as many as can keep it already
            return self._copied(namespace, key, default)
        if held.stamp not in self._kept:
            self._kept[held.stamp] = held
        return _in_place(namespace, key, held.tag, memoryview(held))

    def _copied(self, namespace: str, key: str, default: Any) -> Any:
        entry = self._table.get_entry(namespace, key)
        if entry is None:
            return default
        data = entry.value if isinstance(entry.value, bytes) else b""
        return _in_place(namespace, key, entry.tag, memoryview(data))


def _in_place(namespace: str, key: str, tag: int, view: memoryview) -> Any:
    if tag in _BYTES:
        return view
    if tag == _ARRAY:
        return decode(view, NDARRAY, in_place=True)
    raise InvalidArgument(
        f"{namespace!r} {key!r}: holds neither bytes nor an array, so there is nothing to read in "
        "place; use get"
    )
