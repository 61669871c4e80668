"""What the soak calls a message, and the logs that outlive whoever writes them.

A message's number is one 63-bit integer; bit 63 of a receiver's record says that it came marked as
redelivered. Every record is one plain appending write, which survives the writer's death. Stands on
the store for numbers that no two processes share.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import ultrafast as uf

__all__ = [
    "DIRECT",
    "GROUP",
    "PADS",
    "QUEUE",
    "RECEIVERS_MAX",
    "SENDERS_MAX",
    "SPACE",
    "WAYS",
    "AcceptedLog",
    "ReceivedLog",
    "body_of",
    "fault",
    "is_whole",
    "number_of",
    "with_receiver",
]

SPACE: Final = "soak"
DIRECT, QUEUE, GROUP = 0, 1, 2
WAYS: Final = ("to agents", "named queue", "queue group")

# [ redelivered 1 | sender 17 | way 2 | lane 2 | receiver 10 | count 32 ]
SENDERS_MAX: Final = 1 << 17
RECEIVERS_MAX: Final = 1 << 10
_REDELIVERED: Final = 1 << 63

# So that every size class of the pool has something to do; most messages are small.
PADS: Final = tuple(bytes([65 + n]) * size for n, size in enumerate((0, 30, 0, 200, 0, 900, 3000)))


def number_of(sender: int, way: int, lane: int, receiver: int, count: int) -> int:
    """A message's number."""
    return sender << 46 | way << 44 | lane << 42 | receiver << 32 | count


def with_receiver(number: int, receiver: int) -> int:
    """The number as received by somebody whom its sender did not choose."""
    return number & ~((RECEIVERS_MAX - 1) << 32) | receiver << 32


def body_of(number: int) -> list[object]:
    """What is sent."""
    return [number, PADS[number % len(PADS)]]


def is_whole(number: int, pad: object) -> bool:
    """Whether a body is what its sender made."""
    return pad == PADS[number % len(PADS)]


class AcceptedLog:
    """What a sender was told to be accepted; and what it was about to send when it died.

    Parameters
    ----------
    directory : str
    sender : int
        Its number, which no other has.
    """

    def __init__(self, directory: str, sender: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._log = os.open(f"{directory}/sent-{sender}", flags)
        self._tried = os.open(f"{directory}/tried-{sender}", os.O_WRONLY | os.O_CREAT)

    def begin(self, first: int, end: int) -> None:
        """The counts from `first` up to `end` are tried next; those before it have an answer."""
        os.pwrite(self._tried, first.to_bytes(8, "little") + end.to_bytes(8, "little"), 0)

    def accepted(self, numbers: list[int]) -> None:
        """The bus said True to these."""
        if numbers:
            os.write(self._log, b"".join([number.to_bytes(8, "little") for number in numbers]))


class ReceivedLog:
    """What one process received, in its order.

    Parameters
    ----------
    store : UltraFastMemoryStore
        Numbers the log: a process that begins later has a higher number.
    directory : str
    """

    def __init__(self, store: uf.UltraFastMemoryStore, directory: str) -> None:
        order = store.incr(SPACE, "logs")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._log = os.open(f"{directory}/got-{order:06}", flags)

    def received(self, number: int, redelivered: bool) -> None:
        """One message, before its handler returns."""
        os.write(self._log, (number | redelivered << 63).to_bytes(8, "little"))

    def received_many(self, numbers: list[tuple[int, bool]]) -> None:
        """Several, before any of them is acknowledged."""
        parts = [(number | marked << 63).to_bytes(8, "little") for number, marked in numbers]
        os.write(self._log, b"".join(parts))


def fault(directory: str, sentence: str) -> None:
    """Something that must not happen, for the report."""
    with Path(directory, "faults").open("a") as file:
        file.write(f"{os.getpid()}: {sentence}\n")
