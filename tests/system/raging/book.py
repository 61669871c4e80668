"""What was accepted, handled and given up in a chaos run, from logs that outlive their writers.

A message's number is `[ stream 23 | count 40 ]`; a process that sends has a stream of its own, the
manager's is 0, and `ASKED` that of requests, of which nobody is told more than the answer. Bit 63
of what was handled, or a dead letter, says that it was marked as redelivered. Stands on NumPy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

__all__ = ["ASKED", "COUNT_BITS", "Account", "Log", "account"]

Array = np.ndarray[Any, np.dtype[np.uint64]]

COUNT_BITS: Final = 40
ASKED: Final = (1 << 23) - 1
_MARK: Final = np.uint64(1 << 63)
_NUMBER: Final = np.uint64((1 << 63) - 1)
_SHOWN: Final = 5


class Log:
    """Numbers, each one appending write, which survives whoever wrote it.

    Parameters
    ----------
    directory : str
    kind : {"sent", "got", "dead"}
    stream : int
        Of the process.
    """

    def __init__(self, directory: str, kind: str, stream: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(f"{directory}/{kind}-{stream}", flags, 0o600)

    def add(self, *numbers: int) -> None:
        """All or, when the process is killed before it, none of these."""
        os.write(self._file, b"".join([number.to_bytes(8, "little") for number in numbers]))

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of a run.

    Attributes
    ----------
    accepted, delivered, redelivered, dead : int
        Messages: the bus said True; handled; handled with the mark; given up, with a reason.
    twice : int
        Handled more than once, all but the first time marked.
    in_doubt : int
        Handled, and the sender was killed before it could write down that they were accepted.
    violations : list of str
    """

    accepted: int
    delivered: int
    redelivered: int
    dead: int
    twice: int
    in_doubt: int
    violations: list[str]


def account(directory: str) -> Account:
    """Settle a run.

    Parameters
    ----------
    directory : str
        Of the logs.
    """
    accepted, received, died = (_read(directory, kind) for kind in ("sent", "got", "dead"))
    numbers, marked = received & _NUMBER, (received & _MARK) != 0
    dead, again = died & _NUMBER, (died & _MARK) != 0
    delivered = _distinct(numbers)
    violations: list[str] = []

    def object_to(what: str, found: Array) -> None:
        if len(found):
            shown = ", ".join(f"{int(each):#x}" for each in found[:_SHOWN])
            violations.append(f"{len(found)} {what}, as {shown}")

    object_to("accepted and lost", _without(_without(accepted, delivered), dead))
    first_times, times = np.unique(numbers[~marked], return_counts=True)
    object_to("handled twice without a mark", first_times[times > 1])
    # Who makes a dead letter may die before it has given the message back, which comes again then.
    once, times = np.unique(dead[~again], return_counts=True)
    object_to("twice a dead letter without a mark", once[times > 1])
    # A process handles one message at a time and writes down what came of it before the next.
    unknown = _without(_distinct(np.concatenate([delivered, dead])), accepted)
    origins = unknown >> np.uint64(COUNT_BITS)
    unknown, origins = unknown[origins != ASKED], origins[origins != ASKED]
    streams, counts = np.unique(origins, return_counts=True)
    object_to("streams with more than one message that nobody accepted", streams[counts > 1])
    object_to("never accepted by the manager's bus", unknown[origins == 0])
    _, times = np.unique(numbers, return_counts=True)
    return Account(
        accepted=len(accepted),
        delivered=len(delivered),
        redelivered=len(_distinct(numbers[marked])),
        dead=len(_distinct(dead)),
        twice=int((times > 1).sum()),
        in_doubt=len(unknown),
        violations=violations,
    )


def _distinct(numbers: Array) -> Array:
    """In order, each once: by sorting, for NumPy's own way took minutes over millions of these."""
    ordered = np.sort(numbers)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]


def _without(some: Array, others: Array) -> Array:
    """Those of some that are not among others, in order."""
    left, others = _distinct(some), _distinct(others)
    places = np.searchsorted(others, left)
    found = places < len(others)
    found[found] = others[places[found]] == left[found]
    return left[~found]


def _read(directory: str, kind: str) -> Array:
    parts = []
    for path in sorted(Path(directory).glob(f"{kind}-*")):
        data = path.read_bytes()
        parts.append(np.frombuffer(data, dtype=np.uint64, count=len(data) // 8))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
