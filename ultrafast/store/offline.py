"""Snapshot files without a system: reading, judging, writing and compacting them.

What `ultrafast store` does to a file. Stands on `SnapshotFile`, the records' door and the codec.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ultrafast.codec import decode, encode
from ultrafast.core import _table as tags
from ultrafast.core._records import HEAD_BYTES, pack_entry, read_head, read_items, seal
from ultrafast.errors import DecodeError, SnapshotDamaged
from ultrafast.store.reports import DamagedEntry
from ultrafast.store.salvage import salvage
from ultrafast.store.snapshotfile import SnapshotFile, read_segments, sync_folder, typed

__all__ = ["Content", "KeptEntry", "compact", "make_entry", "read", "value_of", "write"]

_SEGMENT_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20
_ENTRY, _VOID = 1, 2


class KeptEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as a file has it.

    Attributes
    ----------
    namespace, key : str
    tag : int
        The kind of value.
    data : bytes
        Its bytes.
    expires_ns : int
        Wall clock; 0 for never.
    """

    namespace: str
    key: str
    tag: int
    data: bytes
    expires_ns: int = 0


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot file holds.

    Attributes
    ----------
    entries : dict
        (namespace, key) -> KeptEntry, of those that would be restored now.
    records, segments, bytes : int
        What the file has to say it with.
    expired : int
        Entries whose time is over.
    made_ns : int
        Wall clock of the newest segment; 0 without one.
    damaged : list of DamagedEntry
    structure : str or None
        What is wrong with the file as a whole; the entries are then those found in its bytes.
    """

    entries: dict[tuple[str, str], KeptEntry]
    records: int
    segments: int
    bytes: int
    expired: int
    made_ns: int
    damaged: list[DamagedEntry]
    structure: str | None


def read(path: str, *, clock: Callable[[], int] = time.time_ns) -> Content:
    """Read a whole file, while a system may go on writing to it.

    Parameters
    ----------
    path : str
    clock : callable
        Wall clock in nanoseconds.

    Raises
    ------
    SnapshotForeign, SnapshotError
        It is none of ours, or can't be read. Damage is no error here: the answer tells it.
    """
    try:
        with read_segments(path) as segments:
            return _replay(segments, clock(), None)
    except SnapshotDamaged as error:
        return _replay(salvage(path), clock(), str(error))
    except OSError as error:
        raise typed(error, path) from error


def _replay(segments: list[tuple[int, Any]], now_ns: int, structure: str | None) -> Content:
    entries: dict[tuple[str, str], tuple[int, KeptEntry]] = {}
    names_of: dict[int, tuple[str, str]] = {}
    damaged: list[DamagedEntry] = []
    records = total = made_ns = 0
    for number, data in segments:
        total += len(data)
        head = read_head(data)
        made_ns = max(made_ns, head[5] if head is not None else 0)
        offset: int | None = HEAD_BYTES
        while offset is not None:
            items, offset = read_items(data, number, offset)
            records += len(items)
            for item, kind, names, tag, expires_ns, replaces, value in items:
                gone = names_of.pop(replaces, None)
                if gone is not None and gone != names and entries.get(gone, (0,))[0] == replaces:
                    del entries[gone]
                if kind == _VOID:
                    continue
                if kind != _ENTRY or names is None or value is None:
                    damaged.append(_damaged(names, number))
                    if names is not None:
                        entries.pop(names, None)
                    continue
                names_of[item] = names
                kept = KeptEntry(
                    namespace=names[0], key=names[1], tag=tag, data=value, expires_ns=expires_ns
                )
                entries[names] = (item, kept)
    lasting = {
        names: kept
        for names, (_, kept) in entries.items()
        if not kept.expires_ns or kept.expires_ns > now_ns
    }
    return Content(
        entries=lasting,
        records=records,
        segments=len(segments),
        bytes=total,
        expired=len(entries) - len(lasting),
        made_ns=made_ns,
        damaged=damaged,
        structure=structure,
    )


def _damaged(names: tuple[str, str] | None, segment: int) -> DamagedEntry:
    if names is None:
        reason = "the record's head or names"
        return DamagedEntry(namespace=None, key=None, segment=segment, reason=reason)
    reason = "the value's checksum"
    return DamagedEntry(namespace=names[0], key=names[1], segment=segment, reason=reason)


def write(path: str, entries: Iterable[KeptEntry]) -> int:
    """Add entries to a file, in place of earlier ones of their keys; it is made if need be.

    Parameters
    ----------
    path : str
    entries : iterable of KeptEntry

    Returns
    -------
    int
        How many they were.

    Raises
    ------
    SnapshotInUse
        A running system has the file.
    SnapshotError
        Nothing was written.
    """
    given = list(entries)
    size = sum(len(each.data) + 4096 for each in given)
    present = os.path.getsize(path) if os.path.exists(path) else 0
    file = SnapshotFile(path, size_max=2 * (present + size) + _SPARE_BYTES)
    with contextlib.closing(file), file.writing() as writing:
        first = max(writing.sizes, default=0) + 1
        floor = min(writing.sizes, default=first)
        parts = list(_segments(given, first))
        for segment, items, data in parts:
            last = segment == parts[-1][0]
            seal(data, len(data), items, segment, floor, first, last, time.time_ns())
            writing.put(segment, data)
    return len(given)


def _segments(entries: list[KeptEntry], first: int) -> Iterable[tuple[int, int, bytearray]]:
    data, items, segment = bytearray(HEAD_BYTES), 0, first
    for each in entries:
        if items and len(data) + len(each.data) + 2048 > _SEGMENT_BYTES:
            yield segment, items, data
            data, items, segment = bytearray(HEAD_BYTES), 0, segment + 1
        data += pack_entry(
            segment, len(data), each.namespace, each.key, each.tag, each.data, each.expires_ns
        )
        items += 1
    if items:
        yield segment, items, data


def compact(path: str) -> tuple[int, int]:
    """Write a file anew with only what would be restored; what is damaged is left behind.

    Returns
    -------
    before, after : int
        Bytes of the file.

    Raises
    ------
    SnapshotInUse, SnapshotError
        The file is as it was.
    """
    new = f"{path}.compacting"
    with contextlib.ExitStack() as stack:
        # Nobody may write while it is read; a damaged file can't be taken so, and needs no lock.
        with contextlib.suppress(SnapshotDamaged):
            taken = SnapshotFile(path, size_max=os.path.getsize(path) + _SPARE_BYTES)
            stack.callback(taken.close)
            with taken.segments() as segments:
                content = _replay(segments, time.time_ns(), None)
            return _replace(path, new, content)
        return _replace(path, new, read(path))


def _replace(path: str, new: str, content: Content) -> tuple[int, int]:
    before = os.path.getsize(path)
    try:
        for leftover in (new, f"{new}-lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)
        write(new, content.entries.values())
        os.rename(new, path)
        sync_folder(path)
    except OSError as error:
        raise typed(error, path) from error
    finally:
        for leftover in (new, f"{new}-lock"):
            with contextlib.suppress(OSError):
                os.unlink(leftover)
    return before, os.path.getsize(path)


# --- values


def make_entry(namespace: str, key: str, value: Any, expires_ns: int = 0) -> KeptEntry:
    """The entry that a store would keep for a value.

    Raises
    ------
    EncodeError
        It can't be made bytes.
    """
    tag, data = _encoded(value)
    return KeptEntry(namespace=namespace, key=key, tag=tag, data=data, expires_ns=expires_ns)


def _encoded(value: Any) -> tuple[int, bytes]:
    kind = type(value)
    if value is None:
        return tags.NONE, b""
    if kind is bool:
        return (tags.TRUE if value else tags.FALSE), b""
    if kind is int and -(1 << 63) <= value < 1 << 63:
        return tags.INT, struct.pack("=q", value)
    if kind is float:
        return tags.FLOAT, struct.pack("=d", value)
    if kind is str:
        return tags.STR, value.encode()
    if kind is bytes:
        return tags.BYTES, value
    data, codec = encode(value)
    return tags.FIRST_CODEC_TAG + codec, bytes(data)


def value_of(entry: KeptEntry) -> Any:
    """The value of an entry.

    Raises
    ------
    DecodeError
        Its bytes are not what its tag says.
    """
    tag, data = entry.tag, entry.data
    if tag >= tags.FIRST_CODEC_TAG:
        return decode(data, tag - tags.FIRST_CODEC_TAG)
    with contextlib.suppress(UnicodeDecodeError, struct.error):
        if tag == tags.STR:
            return data.decode()
        if tag == tags.INT:
            return struct.unpack("=q", data)[0]
        if tag == tags.FLOAT:
            return struct.unpack("=d", data)[0]
        if tag == tags.BYTES:
            return data
        if tag in (tags.NONE, tags.TRUE, tags.FALSE):
            return {tags.NONE: None, tags.TRUE: True, tags.FALSE: False}[tag]
    raise DecodeError(
        f"{entry.namespace!r} {entry.key!r}: {len(data)} bytes with the tag {tag} are no value"
    )
