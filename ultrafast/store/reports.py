"""What snapshots and restores report: plain frozen Structs. Stands on msgspec."""

from __future__ import annotations

import msgspec

__all__ = ["DamagedEntry", "PersistenceStatistics", "RestoreReport", "SnapshotDone"]


class DamagedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be restored.

    Attributes
    ----------
    namespace, key : str or None
        None where the damage is in the names themselves: an older value may then stand there.
    segment : int
        Where in the file it is.
    reason : str
    """

    namespace: str | None
    key: str | None
    segment: int
    reason: str


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a start found in its snapshot file.

    Attributes
    ----------
    path : str
    entries : int
        In the store now.
    expired : int
        Records whose time was over.
    namespaces : int
        Declared again, as the snapshot has them.
    evicted : int
        Of namespaces that are caches: taken away because the store has no room for all of the file.
    segments : int
    made_ns : int
        Wall clock of the newest segment; 0 when there is none.
    damaged : list of DamagedEntry
        At most the first 1000.
    damaged_count : int
        All of them.
    structure : str or None
        What is wrong with the file as a whole. Then the segments were looked for in its bytes, it
        was moved to `moved_to`, and a new one begun.
    moved_to : str or None
    duration_s : float
    """

    path: str
    entries: int = 0
    expired: int = 0
    namespaces: int = 0
    evicted: int = 0
    segments: int = 0
    made_ns: int = 0
    damaged: list[DamagedEntry] = []
    damaged_count: int = 0
    structure: str | None = None
    moved_to: str | None = None
    duration_s: float = 0.0


class SnapshotDone(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot.

    Attributes
    ----------
    entries : int
        Written because they changed, or to give the room of old segments back.
    removed : int
        Told to be gone.
    bytes : int
        Written.
    segments : int
        In the file now.
    duration_s : float
    """

    entries: int = 0
    removed: int = 0
    bytes: int = 0
    segments: int = 0
    duration_s: float = 0.0


class PersistenceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What snapshots have done so far.

    Attributes
    ----------
    snapshots, entries, removed, bytes : int
        Since the start.
    failures : int
        Since the last snapshot that succeeded.
    error : str or None
        Of the last failure, until one succeeds.
    last_ns : int
        Wall clock of the last one that succeeded; 0 before it.
    file_bytes : int
        Of the segments in the file.
    """

    snapshots: int
    entries: int
    removed: int
    bytes: int
    failures: int
    error: str | None
    last_ns: int
    file_bytes: int
