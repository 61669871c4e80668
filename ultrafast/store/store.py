"""`UltraFastMemoryStore`: what the processes of a system remember together.

Stands on the table's door, the codec and the errors. A read returns a value that some writer wrote,
entire, and waits for nobody. Keeps nothing over the region's end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ultrafast.codec import decode, decode_msgpack, encode
from ultrafast.core import Declared, Entry, Table
from ultrafast.core._status import BUSY, EXISTS, MISSING, NO_BLOCK, OK, STORE_FULL
from ultrafast.core._store import StoreDoor, quicken
from ultrafast.core._table import ANY, FIRST_CODEC_TAG, NEW, STAMP
from ultrafast.errors import Contended, InvalidArgument
from ultrafast.store.figures import NamespaceStatistics, StoreStatistics
from ultrafast.store.namespace import Namespace
from ultrafast.store.room import Room
from ultrafast.store.views import Views
from ultrafast.store.watch import Watched

__all__ = ["UltraFastMemoryStore"]

_NATIVE = frozenset({bytes, str, int, float, bool, type(None)})
_ABSENT = object()
_TRIES = 10_000  # lost races until `update` gives up: each means that another's write succeeded
_TTL_MAX_S = 1e9
_SWEPT_AT_ONCE = 2048
_ROOM_TRIES = 64


@quicken
class UltraFastMemoryStore(StoreDoor, Watched):
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
        self._declared = Declared(table.region)
        self._room = Room(table, self._declared)
        self._views = Views(table)

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

        Called from time to time by whoever keeps the system; a write that finds no room looks for
        such entries by itself.

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
        removed = 0
        for namespace, key, stamp in found:
            if self._table.delete(namespace, key, stamp):
                removed += 1
                self._declared.count_expired(namespace, 1)
        return removed

    # --- what is said of a namespace

    def namespace(
        self, namespace: str, *, cache: bool | None = None, ttl_s: float | None = None
    ) -> Namespace:
        """A namespace as a mapping; declared, where something is said of it.

        What is said holds for all processes from then on, also for entries that are there already,
        until it is said anew.

        Parameters
        ----------
        namespace : str
        cache : bool, optional
            Whether a full store may take its entries back, those not read for longest first.
            Without it, and with a `ttl_s`: as it was.
        ttl_s : float, optional
            How long entries live that are written without a time of their own. Without it, and with
            `cache`: for ever.

        Raises
        ------
        InvalidArgument
            The time is out of range, the name longer than 192 bytes, or 256 others are declared.
        """
        if cache is not None or ttl_s is not None:
            if cache is None:
                said = self._declared.of(namespace)
                cache = said is not None and said[0]
            ttl_ms = 0 if ttl_s is None else max(1, round((self._end(ttl_s) - self._clock()) / 1e6))
            self._declared.declare(namespace, cache, ttl_ms)
        return Namespace(self, namespace)

    def namespace_stats(self, namespace: str) -> NamespaceStatistics:
        """What a namespace holds, and what is declared of it. Cost: one pass over all entries."""
        entries, size = self._declared.measure(namespace)
        cache, ttl_ms, evicted, expired = self._declared.of(namespace) or (False, 0, 0, 0)
        return NamespaceStatistics(
            entries=entries,
            bytes=size,
            cache=cache,
            ttl_s=ttl_ms / 1000 if ttl_ms else None,
            evicted=evicted,
            expired=expired,
        )

    # --- values where they lie

    def get_view(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value without a copy, for values of many bytes that are read and not changed.

        Parameters
        ----------
        namespace, key : str
        default : object, optional
            The answer when there is no entry.

        Returns
        -------
        memoryview or ndarray
            Read-only. Of bytes a memoryview; of an array, an array (one of less than 16 KiB, or not
            of numbers, is copied). It stays what it is when the entry is replaced or deleted; its
            block is given back when the last view of it is gone, or its process.

        Raises
        ------
        InvalidArgument
            What is there has no bytes to be read in place: `get` gives it.

        Notes
        -----
        Threads and processes: any. Waits: never. Twelve processes can keep one entry; for more, and
        where the region is attached read-only, the view is of a copy. The region can't be closed
        while views live.
        """
        return self._views.get(namespace, key, default)

    def __len__(self) -> int:
        """Entries, expired ones that were not swept included. Cost: one pass."""
        return self._table.count()

    def stats(self) -> StoreStatistics:
        """What the store holds. Cost: one pass over every block."""
        blocks = self._table.blocks()
        evicted, expired = self._declared.counted()
        return StoreStatistics(
            entries=self._table.count(),
            bytes_total=sum(each.block_bytes * each.blocks for each in blocks),
            bytes_free=sum(each.block_bytes * each.free for each in blocks),
            blocks=blocks,
            evicted=evicted,
            expired=expired,
            namespaces=self._declared.names(),
        )

    statistics = stats

    # --- one write

    def _write(
        self, namespace: str, key: str, value: Any, expires_ns: int, mode: int, stamp: int
    ) -> int:
        """Write under a mode of the door's: the new stamp, or 0 where its condition is not met."""
        status, new = self._attempt(namespace, key, value, expires_ns, mode, stamp)
        for _ in range(_ROOM_TRIES):  # what room is made, others may take
            if status not in (NO_BLOCK, STORE_FULL):
                break
            if not self._room.make(namespace, key, _size(value)):
                break
            status, new = self._attempt(namespace, key, value, expires_ns, mode, stamp)
        if status == OK:
            return new
        if status in (EXISTS, MISSING):
            return 0
        if status == BUSY:
            raise Contended(f"{namespace!r} {key!r}: others were faster at each try; try again")
        raise self._room.full(namespace, key, _size(value))

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


def _size(value: Any) -> int:
    """Bytes that a value takes in the table."""
    if isinstance(value, bytes | str):
        return len(value.encode()) if isinstance(value, str) else len(value)
    return 8 if isinstance(value, float) else len(encode(value)[0])


def _decoded(tag: int, data: bytes) -> Any:
    return decode(data, tag - FIRST_CODEC_TAG)


def _value(entry: Entry) -> Any:
    if entry.tag < FIRST_CODEC_TAG:
        return entry.value
    assert isinstance(entry.value, bytes)  # the door leaves the codec's values alone
    return _decoded(entry.tag, entry.value)
