"""Every way a call of ours can fail: one class per cause.

All derive from `UltrafastError` and from the builtin people already catch, and can be made from
their message alone. Those of the core carry its status. Stands on nothing.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AgentError",
    "AgentGone",
    "AgentTypeFull",
    "AgentTypeUnknown",
    "ConfigError",
    "Contended",
    "DecodeError",
    "EncodeError",
    "EntryExists",
    "EntryMissing",
    "FileOutsideRoot",
    "ForkedRegion",
    "Interrupted",
    "InvalidArgument",
    "JobBusy",
    "JobChanged",
    "MessageExpired",
    "MessageNotRepeated",
    "MessageTooBig",
    "ModelAuthError",
    "ModelError",
    "ModelOverloaded",
    "ModelRateLimited",
    "NoAgentSlot",
    "NoSlot",
    "NotARegion",
    "PayloadTooBig",
    "PoolExhausted",
    "QueueDeleted",
    "QueueEmpty",
    "QueueFull",
    "RegionClosed",
    "RegionCorrupt",
    "RegionDenied",
    "RegionError",
    "RegionExists",
    "RegionLayoutMismatch",
    "RegionMissing",
    "RegionNoSpace",
    "RegionReadOnly",
    "RegionTruncated",
    "SnapshotDamaged",
    "SnapshotError",
    "SnapshotForeign",
    "SnapshotInUse",
    "SnapshotNoSpace",
    "SnapshotReadOnly",
    "StoreFull",
    "SubjectError",
    "SystemCallFailed",
    "TaskCalledOff",
    "TaskFailed",
    "TaskInvalid",
    "TaskTimeout",
    "Timeout",
    "UltrafastError",
    "WorkerFailed",
    "ValueTooBig",
]


class UltrafastError(Exception):
    """Base of every error raised by this library."""


# --- the core: one class for each status of csrc/uf_status.h


class RegionError(UltrafastError, OSError):
    """Anything wrong with the shared file itself, whether finding, making or using it."""


class NotARegion(RegionError):
    """The file is something else, or a region that its maker has not finished."""

    status: ClassVar[int] = -10


class RegionLayoutMismatch(RegionError):
    """The region was made by another version of this library, whose layout differs."""

    status: ClassVar[int] = -11


class RegionTruncated(RegionError):
    """The file is shorter than its header says: something cut it."""

    status: ClassVar[int] = -12


class RegionCorrupt(RegionError):
    """Shared memory holds a value that no process of ours writes."""

    status: ClassVar[int] = -9


class RegionNoSpace(RegionError):
    """The file system has less room than the region needs.

    Attributes
    ----------
    free_bytes : int or None
        What the file system had, where it was asked.
    needed_bytes : int or None
        What the region needs.
    """

    status: ClassVar[int] = -13

    def __init__(
        self,
        message: str,
        *,
        free_bytes: int | None = None,
        needed_bytes: int | None = None,
    ) -> None:
        super().__init__(message)
        self.free_bytes = free_bytes
        self.needed_bytes = needed_bytes


class RegionDenied(RegionError, PermissionError):
    """The file is another user's, is open to others, is a link, or may not be opened."""

    status: ClassVar[int] = -14


class RegionMissing(RegionError, FileNotFoundError):
    """There is no region at this path."""

    status: ClassVar[int] = -15


class RegionReadOnly(RegionError, PermissionError):
    """The region was attached for reading, and this would write."""

    status: ClassVar[int] = -22


class RegionClosed(RegionError):
    """The region was closed by this process."""

    status: ClassVar[int] = -21


class ForkedRegion(RegionClosed):
    """The region belongs to the parent: this process was forked from it, and must attach anew."""


class SystemCallFailed(RegionError):
    """The operating system refused a call; `errno` says which way."""

    status: ClassVar[int] = -20


class NoSlot(RegionError):
    """A fixed number of places of the region is used up: processes, queues or agent types."""

    status: ClassVar[int] = -16


class EntryExists(UltrafastError, ValueError):
    """There already is such an entry, or it has changed since it was read."""

    status: ClassVar[int] = -4


class RegionExists(RegionError, FileExistsError):
    """There already is a region at this path."""


class EntryMissing(UltrafastError, LookupError):
    """There is no such entry."""

    status: ClassVar[int] = -3


class QueueFull(UltrafastError, BlockingIOError):
    """The queue has no room at this priority."""

    status: ClassVar[int] = -1


class QueueEmpty(UltrafastError, BlockingIOError):
    """There is nothing to take."""

    status: ClassVar[int] = -2


class QueueDeleted(UltrafastError, LookupError):
    """The queue was deleted; whatever has its name now is another one."""

    status: ClassVar[int] = -25


class Contended(UltrafastError, BlockingIOError):
    """Others changed the same words at every one of a bounded number of attempts."""

    status: ClassVar[int] = -8


class PoolExhausted(UltrafastError, MemoryError):
    """Every block of this size, and of the next larger ones, is in use."""

    status: ClassVar[int] = -5


class StoreFull(UltrafastError, MemoryError):
    """The store has no room: no block for a value of this size, or the key's bucket is full."""

    status: ClassVar[int] = -24


class NoAgentSlot(UltrafastError, RuntimeError):
    """Every agent record is in use."""

    status: ClassVar[int] = -23


class AgentGone(UltrafastError, LookupError):
    """The id names an agent that is no more; it is never given to another."""

    status: ClassVar[int] = -7


class PayloadTooBig(UltrafastError, ValueError):
    """The payload is larger than the largest block."""

    status: ClassVar[int] = -6


class MessageTooBig(PayloadTooBig):
    """A message larger than the largest block for messages."""


class ValueTooBig(PayloadTooBig):
    """A value that with its key is larger than the largest block for values."""


class InvalidArgument(UltrafastError, ValueError):
    """An argument is out of its range."""

    status: ClassVar[int] = -17


class Timeout(UltrafastError, TimeoutError):
    """The deadline passed."""

    status: ClassVar[int] = -18


class Interrupted(UltrafastError, InterruptedError):
    """A signal ended the wait, and its handler did not say how to go on."""

    status: ClassVar[int] = -19


# --- the store's snapshots


class SnapshotError(UltrafastError, OSError):
    """The snapshot file can't be made, read or written; its subclasses say why."""


class SnapshotForeign(SnapshotError):
    """The file is no snapshot of a store, or one of a format that this version does not know."""


class SnapshotInUse(SnapshotError, BlockingIOError):
    """A running system, or another command, has the snapshot file."""


class SnapshotNoSpace(SnapshotError):
    """The disk, a limit on files, or the size allowed to the snapshot file leaves no room."""


class SnapshotReadOnly(SnapshotError, PermissionError):
    """The snapshot file or its folder may not be written."""


class SnapshotDamaged(SnapshotError):
    """The snapshot file's structure is damaged; entries in it may still be whole."""


class ConfigError(UltrafastError, ValueError):
    """A setting is unknown, out of its range, or does not go with the others."""


class EncodeError(UltrafastError, TypeError):
    """A body or a value holds something that can't be made bytes."""


class DecodeError(UltrafastError, ValueError):
    """Bytes are not what their codec number says."""


class SubjectError(UltrafastError, ValueError):
    """A subject or a pattern of subjects is not written as they are."""


class AgentError(UltrafastError, RuntimeError):
    """The agent's own code raised; the sentence names the class it raised."""


class MessageExpired(UltrafastError, TimeoutError):
    """A message's time to live was over before its receiver came to it; it is a dead letter."""


class MessageNotRepeated(UltrafastError, RuntimeError):
    """A worker died with the message, and it may not be handled again; it is a dead letter."""


class AgentTypeUnknown(UltrafastError, LookupError):
    """No agent type of this name was registered."""


class AgentTypeFull(UltrafastError, RuntimeError):
    """As many agents of a type are alive as its `max_agents` allows."""


class NameTaken(UltrafastError, ValueError):
    """A living agent has this name."""


class WorkerFailed(UltrafastError, RuntimeError):
    """A worker process did not start, or can't run what it was told to."""


class TaskInvalid(UltrafastError, ValueError):
    """The task as written can't be done: malformed, or refused by the API as it stands."""


class TaskFailed(UltrafastError, RuntimeError):
    """The model answered, and the answer is no result: refused, cut short, empty."""


class TaskCalledOff(TaskFailed):
    """Whoever asked for it waits no more, or its agent was terminated without draining."""


class TaskTimeout(UltrafastError, TimeoutError):
    """The task's time ran out, waiting included."""


class JobBusy(UltrafastError, BlockingIOError):
    """Another run is writing its results to this folder."""


class JobChanged(UltrafastError, ValueError):
    """The results on disk are of other tasks, or of another model, than this run's."""


class ModelError(UltrafastError, ConnectionError):
    """The model could not be reached, failed, or answered something unreadable.

    Attributes
    ----------
    status : int or None
        HTTP status of the answer, where there was one.
    request_id : str or None
        What the API's support asks for.
    attempts : int
        Requests made before giving up.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.attempts = attempts


class ModelAuthError(ModelError, PermissionError):
    """The key is missing, wrong, or not allowed to do this."""


class ModelOverloaded(ModelError):
    """The service has no capacity now, for anybody; the request was in order."""


class ModelRateLimited(ModelError):
    """This key sends too much; `retry_after_s` is what the API asked to wait, where it said so."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        attempts: int = 1,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, attempts=attempts)
        self.retry_after_s = retry_after_s


class FileOutsideRoot(UltrafastError, PermissionError):
    """A path leads out of the directory that files are confined to, or through a symbolic link."""
