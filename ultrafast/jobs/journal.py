"""The results of a job on disk: a line of JSON each, appended as they come, read on a resume.

A line is written with one call as soon as its result is there, so the death of any process loses
no finished result. The file is forced to the disk when `sync` is called (the runner does so about
once a second) and on closing, so a power cut loses at most the last second. Stands on msgspec and
the operating system; knows nothing of agents.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from ultrafast.errors import JobBusy
from ultrafast.executor.tasks import Result

__all__ = ["RESULTS", "DamagedLine", "Journal", "Record"]

RESULTS = "results.jsonl"


class Record(Result, frozen=True, kw_only=True):
    """A result, as a job keeps it.

    Parameters
    ----------
    type : str
        Type of the agent that was to do the task.
    digest : str
        Of the task it is the result of: a changed task is not answered by an old result.
    source : str
        What the job's agents asked: `api` or `loopback`.
    finished_at : str
        UTC, ISO 8601.
    """

    type: str
    digest: str
    source: str
    finished_at: str


class DamagedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the results that can't be read; its task is done again.

    Parameters
    ----------
    line : int
        Its number, from 1.
    reason : str
        What is wrong with it.
    """

    line: int
    reason: str


_decoder = msgspec.json.Decoder(Record)


class Journal:
    """The results file of one job, open for one run at a time.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Attributes
    ----------
    records : mapping of str to Record
        The last result of each task, by id.
    damaged : tuple of DamagedLine
        Lines found unreadable when it was opened.
    cut_bytes : int
        Length of the unfinished last line that an earlier run left, and that was cut off; or 0.

    Raises
    ------
    JobBusy
        If another run has it open.
    OSError
        If the folder can't be written.

    Notes
    -----
    Threads: one, but `sync` may be called from any. Waits: for the disk, in `sync` and `close`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / RESULTS
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o644)
        try:
            self._lock()
            self._read()
            self._synced_bytes = self._bytes
            folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder_fd)  # else the file itself could be missing after a power cut
            finally:
                os.close(folder_fd)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobBusy(
                f"another run is writing to {self.path}; wait for its end or choose another folder"
            ) from error

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        self.cut_bytes = len(data) - whole
        if self.cut_bytes:
            # A line without its end was being written when its run died: nobody relied on it.
            os.ftruncate(self._fd, whole)
        records: dict[str, Record] = {}
        damaged: list[DamagedLine] = []
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
            try:
                record = _decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                damaged.append(DamagedLine(line=number, reason=str(error)))
            else:
                records[record.task_id] = record
        self._records = records
        self._bytes = whole
        self.damaged = tuple(damaged)

    @property
    def records(self) -> Mapping[str, Record]:
        """The last result of each task, by id."""
        return self._records

    def append(self, record: Record) -> None:
        """Write one result, whole or not at all.

        Raises
        ------
        OSError
            If it can't be written; the file is then as it was.
        """
        line = msgspec.json.encode(record) + b"\n"
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._bytes)
            raise
        self._bytes += len(line)
        self._records[record.task_id] = record

    def sync(self) -> None:
        """Force what was appended to the disk; nothing to do when nothing was."""
        bytes_now = self._bytes
        if bytes_now != self._synced_bytes:
            os.fdatasync(self._fd)
            self._synced_bytes = bytes_now

    def close(self) -> None:
        """Force everything to the disk and let go of the file; a second call changes nothing."""
        if self._fd >= 0:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
