"""What became of every message, from the logs of those who sent and those who received.

Stands on NumPy and the numbers of `ids`. It reads what is written and asks nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

__all__ = ["Account", "DeadLog", "account"]

Array = np.ndarray[Any, np.dtype[np.uint64]]

_MARK: Final = np.uint64(1 << 63)
_NUMBER: Final = np.uint64((1 << 63) - 1)
_RECEIVER: Final = np.uint64(0x3FF << 32)
_GROUP: Final = np.uint64(2)
_SHOWN: Final = 5


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of a run.

    Attributes
    ----------
    accepted : int
        The bus said True.
    unknown : int
        Delivered, and the sender was killed before it could write down what the bus said.
    partly : int
        Publications that one process refused and the group took.
    delivered, redelivered : int
        Messages, and those of them that were handled with the mark of a redelivery.
    twice : int
        Messages handled more than once, all but the first time marked.
    dead : dict of str to int
        Dead letters by reason.
    streams, ordered : int
        Of a sender, a receiver and a priority; messages whose order was looked at.
    by_way : dict of str to int
        Deliveries.
    violations : list of str
    """

    accepted: int
    unknown: int
    partly: int
    delivered: int
    redelivered: int
    twice: int
    dead: dict[str, int]
    streams: int
    ordered: int
    by_way: dict[str, int]
    violations: list[str]


class DeadLog:
    """Dead letters as the one process that takes them writes them down.

    Parameters
    ----------
    directory : str
    """

    def __init__(self, directory: str) -> None:
        self._path = Path(directory, "dead")
        self._path.touch()

    def add(self, letters: list[tuple[int, str, int]]) -> None:
        """Number, reason, deliveries that a death cut short."""
        with self._path.open("a") as file:
            file.writelines(f"{number} {reason} {tries}\n" for number, reason, tries in letters)


def account(directory: str, ways: tuple[str, ...]) -> Account:
    """Settle a run.

    Parameters
    ----------
    directory : str
        Of the logs.
    ways : tuple of str
        What the numbers of ways mean.
    """
    accepted = _read(directory, "sent-*")
    received = _read(directory, "got-*")
    numbers, marked = received & _NUMBER, (received & _MARK) != 0
    keys = numbers & ~_RECEIVER
    accepted_keys = np.unique(accepted & ~_RECEIVER)
    dead_keys, dead_again, reasons = _dead(directory)
    violations: list[str] = []

    def object_to(what: str, found: Array) -> None:
        if len(found):
            shown = ", ".join(f"{int(each):#x}" for each in found[:_SHOWN])
            violations.append(f"{len(found)} {what}, as {shown}")

    if len(accepted_keys) < len(accepted):
        object_to("written down twice as accepted", accepted[: len(accepted) - len(accepted_keys)])
    delivered = np.unique(keys)
    object_to("accepted and lost", _without(_without(accepted_keys, delivered), dead_keys))

    strange = _without(np.unique(np.concatenate([delivered, dead_keys])), accepted_keys)
    excused = _in_doubt(directory, strange)
    partly = strange[~excused & ((strange >> np.uint64(44) & np.uint64(3)) == _GROUP)]
    unasked = strange[~excused & ((strange >> np.uint64(44) & np.uint64(3)) != _GROUP)]
    object_to("refused and delivered all the same", unasked)

    first_times, times = np.unique(keys[~marked], return_counts=True)
    object_to("delivered twice without a mark", first_times[times > 1])
    both = np.intersect1d(first_times, dead_keys[~dead_again])
    object_to("delivered and a dead letter as well", both)
    once, times = np.unique(dead_keys[~dead_again], return_counts=True)
    object_to("twice a dead letter", once[times > 1])
    _, counts = np.unique(keys, return_counts=True)

    streams, ordered, wrong = _order(numbers[~marked])
    object_to("out of their sender's order", wrong)
    faults = Path(directory, "faults")
    if faults.exists():
        violations += [f"fault of {line}" for line in faults.read_text().splitlines()[:20]]
    kinds = (numbers >> np.uint64(44)) & np.uint64(3)
    return Account(
        accepted=len(accepted_keys),
        unknown=int(excused.sum()),
        partly=len(partly),
        delivered=len(delivered),
        redelivered=len(np.unique(keys[marked])),
        twice=int((counts > 1).sum()),
        dead=reasons,
        streams=streams,
        ordered=ordered,
        by_way={name: int((kinds == way).sum()) for way, name in enumerate(ways)},
        violations=violations,
    )


def _read(directory: str, pattern: str) -> Array:
    """Logs, one after the other in the order of their names; a record cut short ends its file."""
    parts = []
    for path in sorted(Path(directory).glob(pattern)):
        data = path.read_bytes()
        parts.append(np.frombuffer(data, dtype=np.uint64, count=len(data) // 8))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _without(some: Array, others: Array) -> Array:
    return np.setdiff1d(some, others, assume_unique=False)


def _dead(directory: str) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]], dict[str, int]]:
    """Letters' numbers, whether a death had a part in each, and how many of each reason."""
    lines = Path(directory, "dead").read_text().splitlines()
    words = [line.split() for line in lines]
    numbers = np.array([int(word[0]) for word in words], dtype=np.uint64)
    again = np.array([int(word[2]) > 0 for word in words], dtype=np.bool_)
    reasons: dict[str, int] = {}
    for word in words:
        reasons[word[1]] = reasons.get(word[1], 0) + 1
    return numbers & ~_RECEIVER, again, reasons


def _in_doubt(directory: str, numbers: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of these their sender was about to write down when it was killed."""
    answer = np.zeros(len(numbers), dtype=np.bool_)
    for place, number in enumerate(numbers.tolist()):
        sender, count = number >> 46, number & 0xFFFFFFFF
        tried = Path(directory, f"tried-{sender}").read_bytes()
        first, end = (int.from_bytes(tried[at : at + 8], "little") for at in (0, 8))
        answer[place] = first <= count < end
    return answer


def _order(numbers: Array) -> tuple[int, int, Array]:
    """Streams, messages in them, and those that came after a later one of their stream."""
    streams = numbers >> np.uint64(32)
    by_stream = np.argsort(streams, kind="stable")
    streams, counts = streams[by_stream], (numbers & np.uint64(0xFFFFFFFF))[by_stream]
    same = streams[1:] == streams[:-1]
    wrong = np.flatnonzero(same & (counts[1:] <= counts[:-1])) + 1
    number_of_streams = int((~same).sum()) + 1 if len(streams) else 0
    return number_of_streams, len(numbers), numbers[by_stream][wrong]
