"""Snapshots of the store: what is on disk of it, and how it comes back: `Persistence`.

A thread goes over the table once in an interval and writes what changed since the last time, in one
transaction; a start restores what the file holds. Stands on the recorder's door and `SnapshotFile`.
Does not decide what is kept: every entry of the table is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ultrafast.core import Table
from ultrafast.core._records import LEAST_ROOM, seal
from ultrafast.core._snapshot import Recorder
from ultrafast.errors import SnapshotDamaged, SnapshotError
from ultrafast.store.declarations import Declarations
from ultrafast.store.reports import (
    PersistenceStatistics,
    RestoreReport,
    SnapshotDone,
)
from ultrafast.store.restoring import load as load_segments
from ultrafast.store.salvage import salvage
from ultrafast.store.snapshotfile import SnapshotFile, typed

__all__ = ["Persistence"]

log = logging.getLogger(__name__)

_OWN = "ultrafast.bus"  # who listens to what: of this region's processes only
_SEGMENT_BYTES = 1 << 20
_SPARE_BYTES = 16 << 20  # of the log, beyond twice what lives in it
_SPARE_SEGMENTS = 1024
_ROTATED_AT_ONCE = 4 << 20
_BACK_OFF_MAX_S = 60.0


class Persistence:
    """Keeps a table's entries in a file.

    Parameters
    ----------
    table : Table
    path : str
    interval_s : float
    size_max : int
        Bytes that the file may grow to.
    on_event : callable
        Called with `snapshot.done`, `snapshot.failed`, `snapshot.restored` and alerts, from any
        thread.
    clock : callable
        Wall clock in nanoseconds.

    Notes
    -----
    Threads: any. `restore` comes before all else.
    """

    def __init__(
        self,
        table: Table,
        path: str,
        *,
        interval_s: float,
        size_max: int,
        on_event: Callable[[str, Any], object],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = path
        self._interval_s = interval_s
        self._size_max = size_max
        self._on_event = on_event
        self._clock = clock
        self._table = table
        self._recorder = Recorder(table, _OWN)
        self._declarations = Declarations(table)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._file: SnapshotFile | None = None
        self._buffers = [bytearray(_SEGMENT_BYTES), bytearray(_SEGMENT_BYTES)]
        self._next = 1  # number of the next segment
        self._floor = 1  # segments below it do not count any more
        self._rotate_to = 0  # segments below it are being written anew
        self._sizes: dict[int, int] = {}  # of the file's segments, when it was last written
        self._failures = 0
        self._error: str | None = None
        self._last_ns = 0
        self._sums = [0, 0, 0, 0]
        self.report = RestoreReport(path=path)

    # --- restoring

    def restore(self, *, load: bool = True) -> RestoreReport:
        """Take the file and put what it holds into the table.

        Parameters
        ----------
        load : bool
            False: what is in the table is newer, and replaces what is in the file.

        Raises
        ------
        SnapshotError
            The file can't be used; its subclasses say why.
        StoreFull
            The store has no room for what the file holds. The file is as it was.
        """
        begun = time.monotonic()
        structure = moved_to = None
        if load:
            _look(self._path)
        try:
            self._file = self._take()
        except SnapshotDamaged as error:
            structure = str(error)
            found = salvage(self._path)
            report = self._load(found) if load else RestoreReport(path=self._path)
            moved_to = _move_aside(self._path)
            self._file = self._take()
            self._recorder.forget_all()  # all of it goes into the new file
        else:
            with self._file.segments() as segments:
                report = self._load(segments) if load else RestoreReport(path=self._path)
            if not load:
                self._floor = self._next = max(self._file.sizes, default=0) + 1
        self._sizes = self._file.sizes
        report = msgspec.structs.replace(
            report,
            structure=structure,
            moved_to=moved_to,
            duration_s=time.monotonic() - begun,
        )
        self.report = report
        self._tell(report)
        return report

    def _take(self) -> SnapshotFile:
        return SnapshotFile(self._path, size_max=self._size_max)

    def _load(self, segments: list[tuple[int, Any]]) -> RestoreReport:
        if segments:
            self._floor = segments[0][0]
            self._next = segments[-1][0] + 1
        report = load_segments(
            self._table, self._recorder, self._declarations, segments, self._path, self._clock()
        )
        if report.evicted:
            # The file still has them: it is written anew, so that they do not come back.
            self._recorder.forget_all()
            self._floor = self._next
        return report

    def _tell(self, report: RestoreReport) -> None:
        log.info(
            "snapshot %s: %d entries restored of %d segments in %.3f s",
            report.path,
            report.entries,
            report.segments,
            report.duration_s,
        )
        if report.structure is not None:
            log.error(
                "%s; what was whole in it is restored, it is kept as %s",
                report.structure,
                report.moved_to,
            )
        for each in report.damaged:
            log.error(
                "snapshot %s: segment %d: %r %r is damaged: %s",
                report.path,
                each.segment,
                each.namespace,
                each.key,
                each.reason,
            )
        self._on_event(
            "snapshot.restored",
            {
                "path": report.path,
                "entries": report.entries,
                "expired": report.expired,
                "damaged": report.damaged_count,
                "keys": [[each.namespace, each.key] for each in report.damaged],
                "structure": report.structure,
                "duration_s": report.duration_s,
            },
        )

    # --- the thread

    def start(self) -> None:
        """Begin to make snapshots, each interval."""
        self._thread = threading.Thread(target=self._run, name="ultrafast-snapshots", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Make a last snapshot and let go of the file. May be called twice."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            with contextlib.suppress(SnapshotError):
                self.snapshot()
        with self._lock:
            self._let_go()

    def abandon(self) -> None:
        """In a forked child: the file and the thread are the parent's."""
        self._thread = None
        self._file = None

    def _run(self) -> None:
        wait_s = self._interval_s
        while not self._wake.wait(wait_s):
            begun = time.monotonic()
            try:
                self.snapshot()
            except SnapshotError:
                wait_s = min(_BACK_OFF_MAX_S, self._interval_s * 2 ** min(self._failures, 16))
            except Exception:
                log.exception("snapshot %s: failed for a reason of its own", self._path)
                wait_s = _BACK_OFF_MAX_S
            else:
                wait_s = max(0.0, self._interval_s - (time.monotonic() - begun))

    # --- one snapshot

    def snapshot(self) -> SnapshotDone:
        """Write what changed since the last snapshot, now.

        Returns
        -------
        SnapshotDone

        Raises
        ------
        SnapshotError
            Nothing was written; what changed is written the next time. An alert was raised.
        """
        with self._lock:
            begun = time.monotonic()
            try:
                done = self._write()
            except SnapshotError as error:
                self._failed(error)
                raise
            done = msgspec.structs.replace(done, duration_s=time.monotonic() - begun)
            self._succeeded(done)
            return done

    def _write(self) -> SnapshotDone:
        recorder = self._recorder
        if self._file is None:
            self._retake()
        assert self._file is not None
        self._declarations.note()
        recorder.begin()
        try:
            floor = self._rotated()
            with contextlib.ExitStack() as stack:
                written, total = self._put(stack, floor)
        except BaseException as error:
            recorder.rollback()
            if isinstance(error, SnapshotError):
                # After a failed write LMDB may refuse all others: take the file anew the next time.
                self._let_go()
            raise
        recorder.commit()
        self._sizes = self._file.sizes
        if written:
            self._floor = floor
        return SnapshotDone(
            entries=recorder.packed,
            removed=recorder.removed,
            bytes=total,
            segments=len(self._file.sizes),
        )

    def _put(self, stack: contextlib.ExitStack, floor: int) -> tuple[int, int]:
        """Pack and put segments, in a transaction that is begun when there is one to put."""
        assert self._file is not None
        recorder = self._recorder
        first = self._next
        writing = None
        waiting: tuple[int, int, int, bytearray] | None = None
        count = total = 0
        made_ns = self._clock()
        done = False
        while not done:
            segment = self._next
            buffer = self._buffers[count % 2]
            used, items, done, needed = recorder.pack(buffer, segment)
            if needed:
                self._buffers[count % 2] = bytearray(max(needed, LEAST_ROOM))
                continue
            if items == 0:
                continue
            self._next += 1
            if writing is None:
                writing = stack.enter_context(self._file.writing())
            if waiting is not None:
                _put_one(writing, waiting, floor, first, False, made_ns)
            waiting = (segment, used, items, buffer)
            count += 1
            total += used
        if writing is not None and waiting is not None:
            _put_one(writing, waiting, floor, first, True, made_ns)
        if floor > self._floor or min(self._file.sizes, default=floor) < floor:
            if writing is None:
                writing = stack.enter_context(self._file.writing())
            writing.drop(floor)
            count += 1
        for index, each in enumerate(self._buffers):
            if len(each) > _SEGMENT_BYTES:  # one large value is no reason to keep its room
                self._buffers[index] = bytearray(_SEGMENT_BYTES)
        return count, total

    def _rotated(self) -> int:
        """The floor after this snapshot; what lives below it is packed again."""
        assert self._file is not None
        sizes = self._file.sizes
        if not sizes:
            return self._floor
        if self._rotate_to <= self._floor:
            total = sum(sizes.values())
            live = self._live_bytes
            segments_max = 2 * (live // _SEGMENT_BYTES) + _SPARE_SEGMENTS
            if total <= 2 * live + _SPARE_BYTES and len(sizes) <= segments_max:
                return self._floor
            self._rotate_to = self._next
        floor, taken = self._floor, 0
        for segment in sorted(sizes):
            if taken >= _ROTATED_AT_ONCE or segment >= self._rotate_to:
                break
            taken += sizes[segment]
            floor = segment + 1
        self._recorder.forget(floor)
        return floor

    @property
    def _live_bytes(self) -> int:
        """An estimate: what lives has the mean size of what was written."""
        written = max(1, self._sums[1])
        mean = max(64, self._sums[3] // written) if self._sums[1] else 128
        return self._recorder.live * mean

    def _retake(self) -> None:
        """Take the file again after a failure; another one, or none, is written from scratch."""
        self._file = self._take()
        if self._file.sizes != self._sizes:
            self._recorder.forget_all()
            self._next = max(self._next, max(self._file.sizes, default=0) + 1)
            self._floor = self._next

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _failed(self, error: SnapshotError) -> None:
        self._failures += 1
        told, self._error = self._error, str(error)
        if told != self._error:
            log.error("%s; the store goes on, the next snapshot is tried later", error)
        self._on_event(
            "snapshot.failed",
            {"path": self._path, "error": f"{type(error).__name__}: {error}"},
        )
        if self._failures == 1:
            self._on_event("alert.raised", {"name": "snapshots_failed", "value": 1, "limit": 0})

    def _succeeded(self, done: SnapshotDone) -> None:
        if self._failures:
            log.warning("snapshot %s: succeeded after %d failures", self._path, self._failures)
            self._on_event("alert.cleared", {"name": "snapshots_failed"})
        self._failures = 0
        self._error = None
        self._last_ns = self._clock()
        if done.bytes or done.removed:
            added = (1, done.entries, done.removed, done.bytes)
            self._sums = [a + b for a, b in zip(self._sums, added, strict=True)]
            self._on_event("snapshot.done", msgspec.structs.asdict(done))

    def statistics(self) -> PersistenceStatistics:
        """What snapshots have done so far."""
        snapshots, entries, removed, total = self._sums
        file = self._file
        return PersistenceStatistics(
            snapshots=snapshots,
            entries=entries,
            removed=removed,
            bytes=total,
            failures=self._failures,
            error=self._error,
            last_ns=self._last_ns,
            file_bytes=sum(file.sizes.values()) if file is not None else 0,
        )


def _put_one(
    writing: Any,
    waiting: tuple[int, int, int, bytearray],
    floor: int,
    first: int,
    last: bool,
    made_ns: int,
) -> None:
    segment, used, items, buffer = waiting
    seal(buffer, used, items, segment, floor, first, last, made_ns)
    with memoryview(buffer) as view:
        writing.put(segment, view[:used])


def _look(path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise SnapshotError(f"snapshot {path}: {folder} is no folder; make it")


def _move_aside(path: str) -> str:
    """Keep a damaged file under another name, and let LMDB begin its lock file anew."""
    for number in range(1, 1000):
        target = f"{path}.damaged-{number}"
        if not os.path.lexists(target):
            break
    try:
        os.rename(path, target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}-lock")
    except OSError as error:
        raise typed(error, path) from error
    return target
