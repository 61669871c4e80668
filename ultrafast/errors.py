"""Every way a call of ours can fail: one class per cause.

All derive from `UltrafastError` and from the builtin people already catch, and can be made from
their message alone. Stands on nothing.
"""

from __future__ import annotations

__all__ = [
    "FileOutsideRoot",
    "ModelAuthError",
    "ModelError",
    "ModelOverloaded",
    "ModelRateLimited",
    "TaskFailed",
    "TaskInvalid",
    "TaskTimeout",
    "UltrafastError",
]


class UltrafastError(Exception):
    """Base of every error raised by this library."""


class TaskInvalid(UltrafastError, ValueError):
    """The task as written can't be done: malformed, or refused by the API as it stands."""


class TaskFailed(UltrafastError, RuntimeError):
    """The model answered, and the answer is no result: refused, cut short, empty."""


class TaskTimeout(UltrafastError, TimeoutError):
    """The task's time ran out, waiting included."""


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
