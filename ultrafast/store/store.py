"""`UltraFastMemoryStore`: what the processes of a system remember together.

Stands on the table's door, the codec and the errors. A read returns a value that some writer wrote,
entire, and waits for nobody. Keeps nothing over the region's end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ultrafast.codec import decode, decode_msgpack, encode
from ultrafast.core import BlockCount, Entry, Table
from ultrafast.core._status import BUSY, EXISTS, MISSING, NO_BLOCK, OK, STORE_FULL
from ultrafast.core._store import StoreDoor
from ultrafast.core._table import ANY, FIRST_CODEC_TAG, NEW, STAMP
from ultrafast.errors import Contended, InvalidArgument, StoreFull
from ultrafast.store.namespace import Namespace

__all__ = ["StoreStatistics", "UltraFastMemoryStore"]

_NATIVE = frozenset({bytes, str, int, float, bool, type(None)})
_ABSENT = object()
_TRIES = 10_000  # lost races until `update` gives up: each means that another's write succeeded
_TTL_MAX_S = 1e9
_SWEPT_AT_ONCE = 2048


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds, as counted in one pass while others go on writing.

    Attributes
    ----------
    entries : int
        Expired ones that were not swept included.
    bytes_total, bytes_free : int
        Of all blocks for values, and of those in use by nobody.
    blocks : list of BlockCount
        By size: a value takes the smallest that it and its key fit into, or a larger one.
    """

    entries: int
    bytes_total: int
    bytes_free: int
    blocks: list[BlockCount]


class UltraFastMemoryStore(StoreDoor):
    """Values by namespace and key, shared by all processes that are attached to a region.

    None, bool, int, float, str and bytes are kept as they are; everything else in the form that
    `ultrafast.codec` gives it. Namespace and key together are at most 1024 bytes of UTF-8.

    Parameters
    ----------
    table : Table
        The region's.
    clock : callable
        Wall clock in nanoseconds, for the end of entries with a `ttl_s`.

    Methods
    -------
    get(namespace, key, default=None)
        The value, or `default` when there is none. `DecodeError` when its bytes are not what their
        tag says.
    set(namespace, key, value, *, ttl_s=None)
        Keep a value, in place of an earlier one; after `ttl_s` seconds it is gone. True, or
        `StoreFull`, `ValueTooBig`, or `EncodeError` when it can't be made bytes.
    contains(namespace, key)
        Whether there is an entry.
    delete(namespace, key)
        Take an entry away; whether there was one.
    get_batch(namespace, keys, default=None)
        The values of these keys, in their order; `default` for those that are missing. Faster
        than as many `get`: the next entries are fetched while the first are read.
    delete_batch(namespace, keys)
        Take entries away; for each, whether there was one.
    incr(namespace, key, delta=1, *, ttl_s=None)
        Add to a number, which begins with 0 where there is none; the sum, which is now kept.
        Without `ttl_s` the entry ends when it would have. `InvalidArgument` when what is there is
        no number.

    Notes
    -----
    Threads and processes: any. Waits: never. A write that finds no room raises `StoreFull`, and
    nothing has changed. Each write gives its entry another *version*, an int that is never 0.
    """

    def __init__(self, table: Table, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._table = table
        self._clock = clock
        table.decoder = _decoded
        table.quick_decoder = decode_msgpack
        self._join(table, encode)
        self._swept = 0

    def set_batch(
        self,
        namespace: str,
        items: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        ttl_s: float | None = None,
    ) -> list[bool]:
        """Keep many values. Each is written by itself: others may see some before the rest.

        Parameters
        ----------
        namespace : str
        items : mapping, or iterable of (str, object)
        ttl_s : float, optional
            As `set`.

        Returns
        -------
        list of bool
            For each, in order: False means that there was no room for it.

        Raises
        ------
        ValueTooBig, EncodeError
            Those before it are written.
        """
        expires_ns = 0 if ttl_s is None else self._end(ttl_s)
        if isinstance(items, Mapping):
            return self._set_many(namespace, list(items), list(items.values()), expires_ns)
        pairs = list(items)
        keys, values = [key for key, _ in pairs], [value for _, value in pairs]
        return self._set_many(namespace, keys, values, expires_ns)

    # --- changes that depend on what is there

    def get_with_version(self, namespace: str, key: str, default: Any = None) -> tuple[Any, int]:
        """The value and its version; `default` and 0 when there is none."""
        entry = self._table.get_entry(namespace, key)
        return (default, 0) if entry is None else (_value(entry), entry.stamp)

    def compare_and_set(
        self, namespace: str, key: str, value: Any, version: int, *, ttl_s: float | None = None
    ) -> int:
        """Keep a value only if the entry still has this version.

        Parameters
        ----------
        namespace, key : str
        value : object
        version : int
            From `get_with_version`, or from the last write; 0: only if there is no entry.
        ttl_s : float, optional
            As `set`.

        Returns
        -------
        int
            The new version, or 0: another has written, or deleted, or was first; nothing changed.

        Raises
        ------
        StoreFull, ValueTooBig, EncodeError
            As `set`.
        """
        expires_ns = 0 if ttl_s is None else self._end(ttl_s)
        mode = STAMP if version else NEW
        return self._write(namespace, key, value, expires_ns, mode, version)

    def update(
        self,
        namespace: str,
        key: str,
        fn: Callable[[Any], Any],
        default: Any = None,
        *,
        ttl_s: float | None = None,
    ) -> Any:
        """Replace a value by what a function makes of it.

        Parameters
        ----------
        namespace, key : str
        fn : callable
            Called with the value, or `default`; once more each time that another wrote meanwhile.
        default : object, optional
            What it is called with when there is no entry.
        ttl_s : float, optional
            As `set`; without it, the entry ends when it would have.

        Returns
        -------
        object
            What `fn` returned, and what is now kept.

        Raises
        ------
        Contended
            Others were faster at each of a large, bounded number of attempts.
        StoreFull, ValueTooBig, EncodeError
            As `set`.
        """
        for _ in range(_TRIES):
            entry = self._table.get_entry(namespace, key)
            if entry is None:
                before, mode, stamp, expires_ns = default, NEW, 0, 0
            else:
                before, mode, stamp = _value(entry), STAMP, entry.stamp
                expires_ns = entry.expires_ns
            value = fn(before)
            if ttl_s is not None:
                expires_ns = self._end(ttl_s)
            if self._write(namespace, key, value, expires_ns, mode, stamp):
                return value
        raise Contended(f"{namespace!r} {key!r}: others wrote it at each of {_TRIES} attempts")

    def _incr(self, namespace: str, key: str, delta: float, ttl_s: float | None) -> Any:
        """`incr` of what is no native number, or has no room, or is fought for."""

        def add(before: Any) -> Any:
            if type(before) not in (int, float):
                raise InvalidArgument(
                    f"{namespace!r} {key!r}: holds a {type(before).__name__}, which nothing can be "
                    "added to"
                )
            return before + delta

        return self.update(namespace, key, add, 0, ttl_s=ttl_s)

    def set_default(
        self, namespace: str, key: str, default: Any, *, ttl_s: float | None = None
    ) -> Any:
        """The value; where there is none, `default`, which is then kept."""
        for _ in range(_TRIES):
            value = self.get(namespace, key, _ABSENT)
            if value is not _ABSENT:
                return value
            if self.compare_and_set(namespace, key, default, 0, ttl_s=ttl_s):
                return default
        raise Contended(f"{namespace!r} {key!r}: came and went at each of {_TRIES} attempts")

    def pop(self, namespace: str, key: str, default: Any = None) -> Any:
        """Take an entry away and give its value to this caller alone; `default` without one."""
        for _ in range(_TRIES):
            entry = self._table.get_entry(namespace, key)
            if entry is None:
                return default
            value = _value(entry)
            if self._table.delete(namespace, key, entry.stamp):
                return value
        raise Contended(f"{namespace!r} {key!r}: others wrote it at each of {_TRIES} attempts")

    # --- all of a namespace

    def scan(
        self, namespace: str, prefix: str = "", *, cursor: int = 0, limit: int = 256
    ) -> tuple[int | None, list[str]]:
        """Some of the keys, for callers that have other things to do in between.

        Parameters
        ----------
        namespace : str
        prefix : str
            What the keys begin with.
        cursor : int
            0 to begin with, then what the last call answered.
        limit : int
            How many keys of the namespace are looked at.

        Returns
        -------
        cursor : int or None
            None at the end.
        keys : list of str
            An entry that stays throughout is seen, once.
        """
        after, found = self._table.scan(cursor, namespace, limit)
        return after, [key for _, key in found if key.startswith(prefix)]

    def keys(self, namespace: str, prefix: str = "") -> Iterator[str]:
        """Iterate over the keys of a namespace that begin with `prefix`, in no order."""
        cursor: int | None = 0
        while cursor is not None:
            cursor, found = self.scan(namespace, prefix, cursor=cursor)
            yield from found

    def items(self, namespace: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Iterate over keys and their values; an entry deleted meanwhile is left out."""
        for key in self.keys(namespace, prefix):
            value = self.get(namespace, key, _ABSENT)
            if value is not _ABSENT:
                yield key, value

    def sweep(self, limit: int = _SWEPT_AT_ONCE) -> int:
        """Give back the room of entries whose time is over, which reads only pass over.

        Called from time to time by whoever keeps the system; a write that finds no room does it
        once by itself.

        Parameters
        ----------
        limit : int
            How many entries are looked at, from where the last call ended.

        Returns
        -------
        int
            Entries removed.
        """
        after, found = self._table.expired(self._swept, limit)
        self._swept = after or 0
        delete = self._table.delete
        return sum([delete(namespace, key, stamp) for namespace, key, stamp in found])

    def namespace(self, namespace: str) -> Namespace:
        """A namespace as a mapping."""
        return Namespace(self, namespace)

    def __len__(self) -> int:
        """Entries, expired ones that were not swept included. Cost: one pass."""
        return self._table.count()

    def statistics(self) -> StoreStatistics:
        """What the store holds. Cost: one pass over every block."""
        blocks = self._table.blocks()
        return StoreStatistics(
            entries=self._table.count(),
            bytes_total=sum(each.block_bytes * each.blocks for each in blocks),
            bytes_free=sum(each.block_bytes * each.free for each in blocks),
            blocks=blocks,
        )

    # --- one write

    def _write(
        self, namespace: str, key: str, value: Any, expires_ns: int, mode: int, stamp: int
    ) -> int:
        """Write under a mode of the door's: the new stamp, or 0 where its condition is not met."""
        status, new = self._attempt(namespace, key, value, expires_ns, mode, stamp)
        if status in (NO_BLOCK, STORE_FULL) and self.sweep():
            status, new = self._attempt(namespace, key, value, expires_ns, mode, stamp)
        if status == OK:
            return new
        if status in (EXISTS, MISSING):
            return 0
        if status == BUSY:
            raise Contended(f"{namespace!r} {key!r}: others were faster at each try; try again")
        raise _full(namespace, key, value)

    def _late(self, namespace: str, key: str, value: Any, expires_ns: int) -> None:
        """A write that found no room, or was fought for: once more, swept."""
        self._write(namespace, key, value, expires_ns, ANY, 0)

    def _attempt(
        self, namespace: str, key: str, value: Any, expires_ns: int, mode: int, stamp: int
    ) -> tuple[int, int]:
        """The door's status and the new stamp."""
        if type(value) in _NATIVE:
            try:
                if mode == ANY:
                    return (
                        OK if self._table.set(namespace, key, value, expires_ns) else NO_BLOCK
                    ), 1
                return self._table.compare_and_set(namespace, key, value, stamp, expires_ns)
            except TypeError:
                if type(value) is not int:
                    raise
        data, codec = encode(value)
        tag = FIRST_CODEC_TAG + codec
        return self._table.set_encoded(namespace, key, data, tag, expires_ns, mode, stamp)

    def _end(self, ttl_s: float) -> int:
        if not 0 < ttl_s <= _TTL_MAX_S:
            raise InvalidArgument(
                f"ttl_s is {ttl_s}; allowed is more than 0, up to {_TTL_MAX_S:.0f} seconds, or None"
            )
        return self._clock() + int(ttl_s * 1e9)


def _decoded(tag: int, data: bytes) -> Any:
    return decode(data, tag - FIRST_CODEC_TAG)


def _value(entry: Entry) -> Any:
    if entry.tag < FIRST_CODEC_TAG:
        return entry.value
    assert isinstance(entry.value, bytes)  # the door leaves the codec's values alone
    return _decoded(entry.tag, entry.value)


def _full(namespace: str, key: str, value: Any) -> StoreFull:
    size = len(value) if isinstance(value, bytes | str) else len(encode(value)[0])
    return StoreFull(
        f"no room for {namespace!r} {key!r}, a value of {size:,} bytes: every block of its size "
        "and of larger ones is in use, or its place in the table is full; delete what is not "
        "needed, or raise memory_store_size (statistics() tells what is free)"
    )
