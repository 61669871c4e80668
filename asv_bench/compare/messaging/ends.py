"""What a contestant of the messaging comparison offers: its plumbing, and the two ends of it.

Plumbing is made by the parent and handed to the processes that open its ends. The near end puts
into `there` and gets from `back`, the far end the other way round; with four senders there are four
near ends, and nothing comes back.

Stands on the standard library. Loops are written here once; a contestant whose way of putting or
getting is more than one call of its library overrides them, so that it pays no call of ours.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from itertools import repeat
from types import ModuleType
from typing import Any, ClassVar

__all__ = ["BATCH", "Contestant", "End", "imported", "installed", "why_missing"]

BATCH = 32
"""Messages handed over at once where that is possible."""


class End:
    """One end, in its own process.

    Attributes
    ----------
    put : callable
        ``put(data)``: hand over bytes, waiting while there is no room.
    get : callable
        ``get()``: the next message's bytes, asleep until there is one.
    poll : callable or None
        ``poll()``: the next message's bytes, or None at once; None where the library's documents
        do not speak of polling.
    """

    put: Callable[[bytes], object]
    get: Callable[[], Any]
    poll: Callable[[], Any] | None = None

    def send_all(self, payload: bytes, count: int) -> None:
        """Put the payload so often, one call each."""
        put = self.put
        for _ in repeat(None, count):
            put(payload)

    def receive_all(self, count: int, payload_bytes: int) -> Any:
        """Get so many messages, one call each; the last one's bytes."""
        get = self.get
        data = b""
        for _ in repeat(None, count):
            data = get()
        return data

    def send_batches(self, payloads: Sequence[bytes], times: int) -> None:
        """Put all the payloads at once, so often; only where the contestant has batches."""
        raise NotImplementedError

    def receive_batches(self, count: int, payload_bytes: int) -> Any:
        """Get so many messages, as many at once as there are; the last one's bytes."""
        raise NotImplementedError

    def send_in_place(self, mark: bytes, payload_bytes: int, count: int) -> None:
        """Hand over memory of that size with the mark at its start, so often; if it lends."""
        raise NotImplementedError

    def receive_in_place(self, count: int, mark_bytes: int) -> bytes:
        """Look at so many messages where they lie; the start of the last one."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the end holds."""


class Contestant(ABC):
    """One way to pass messages between processes. Never made: its class is all there is.

    Attributes
    ----------
    name, how : str
        Its name, and what each side does.
    ours : bool
        Whether the others are compared with it.
    polls : bool
        Whether its ends have `poll`.
    batch_senders : int
        How many may hand over batches at a time; 0: it has no batches.
    lends : bool
        Whether messages can be written and read where they lie.
    """

    name: ClassVar[str]
    ours: ClassVar[bool]
    how: ClassVar[str]
    polls: ClassVar[bool]
    batch_senders: ClassVar[int]
    lends: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it can't take part, or None."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of the library."""

    @classmethod
    @abstractmethod
    def plumbing(cls, senders: int) -> AbstractContextManager[Any]:
        """Everything that its processes share; nothing of it is left when the block ends."""

    @classmethod
    @abstractmethod
    def near(cls, plumbing: Any, number: int) -> End:
        """The end of sender `number`."""

    @classmethod
    @abstractmethod
    def far(cls, plumbing: Any) -> End:
        """The other end."""


def imported(module: str) -> ModuleType:
    """A module that need not be installed. Typed loosely: few of them are typed."""
    return importlib.import_module(module)


def why_missing(module: str) -> str | None:
    """Why a module can't be imported, or None."""
    try:
        imported(module)
    except ImportError as error:
        return str(error)
    return None


def installed(package: str) -> str:
    """The package and its version."""
    return f"{package} {version(package)}"
