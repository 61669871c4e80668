"""What the processes of a messaging team are told to do: `order(end, ...)`, run beside the end."""

from __future__ import annotations

import struct
import time
from typing import Any

from ..teams import now_ns
from .ends import BATCH, End

__all__ = [
    "BATCHES",
    "IN_PLACE",
    "MARK_BYTES",
    "ONE_BY_ONE",
    "PATTERN",
    "answer_trips",
    "flow_in",
    "flow_out",
    "paced_in",
    "paced_out",
    "trips",
]

PATTERN = bytes(range(256)) * 256
"""Payloads are the beginning of it."""

ONE_BY_ONE, BATCHES, IN_PLACE = "one by one", "batches", "in place"
"""Ways of a flow."""

MARK_BYTES = 8
"""What is written and read of a message in place."""

_STAMP = struct.Struct("=q")
_SLEEP_LATE_NS = 80_000  # a sleep ends about so late; the rest is waited for awake


def paced_out(end: End, start_ns: int, count: int, period_ns: int, payload_bytes: int) -> None:
    """Put a message at each beat, whatever became of those before; each carries when it was due."""
    put, rest = end.put, PATTERN[_STAMP.size : payload_bytes]
    for number in range(count):
        due = start_ns + number * period_ns
        while (left := due - now_ns()) > 0:
            if left > _SLEEP_LATE_NS:
                time.sleep((left - _SLEEP_LATE_NS) / 1e9)
        put(_STAMP.pack(due) + rest)


def paced_in(end: End, count: int, payload_bytes: int) -> list[int]:
    """From each message's due time to its bytes being here."""
    get, unpack, times = end.get, _STAMP.unpack_from, []
    data: Any = b""
    for _ in range(count):
        data = get()
        times.append(now_ns() - unpack(data)[0])
    _check(data[_STAMP.size :], PATTERN[_STAMP.size : payload_bytes])
    return times


def trips(end: End, count: int, payload_bytes: int, spin: bool) -> list[int]:
    """Put and get so often: the time of each trip."""
    put, get, payload, times = end.put, _getter(end, spin), PATTERN[:payload_bytes], []
    data: Any = b""
    if spin:
        put = getattr(end, "put_unannounced", put)
    for _ in range(count):
        start = now_ns()
        put(payload)
        data = get()
        times.append(now_ns() - start)
    _check(data, payload)
    return times


def answer_trips(end: End, count: int, spin: bool) -> None:
    """The other side of `trips`: put back what comes."""
    put, get = end.put, _getter(end, spin)
    if spin:
        put = getattr(end, "put_unannounced", put)
    for _ in range(count):
        put(get())


def flow_out(end: End, start_ns: int, count: int, payload_bytes: int, way: str) -> int:
    """Put as fast as they are taken; when the first was put."""
    payload = PATTERN[:payload_bytes]
    if (left := start_ns - now_ns()) > 0:
        time.sleep(left / 1e9)
    begun = now_ns()
    if way == IN_PLACE:
        end.send_in_place(payload[:MARK_BYTES], payload_bytes, count)
    elif way == BATCHES:
        end.send_batches([payload] * BATCH, count // BATCH)
    else:
        end.send_all(payload, count)
    return begun


def flow_in(end: End, count: int, payload_bytes: int, way: str) -> int:
    """Get so many; when the last one's bytes were here."""
    wanted = PATTERN[:payload_bytes]
    if way == IN_PLACE:
        wanted = PATTERN[:MARK_BYTES]
        data: Any = end.receive_in_place(count, MARK_BYTES)
    elif way == BATCHES:
        data = end.receive_batches(count, payload_bytes)
    else:
        data = end.receive_all(count, payload_bytes)
    ended = now_ns()
    _check(data, wanted)
    return ended


def _getter(end: End, spin: bool) -> Any:
    if not spin:
        return end.get
    poll = end.poll
    if poll is None:
        raise NotImplementedError(f"{type(end).__name__} does not poll")

    def get() -> Any:
        while (data := poll()) is None:
            pass
        return data

    return get


def _check(data: Any, wanted: bytes) -> None:
    if bytes(data) != wanted:
        raise ValueError(
            f"the last message has {len(data)} bytes and begins {bytes(data[:8])!r}; "
            f"{len(wanted)} beginning {wanted[:8]!r} were sent"
        )
