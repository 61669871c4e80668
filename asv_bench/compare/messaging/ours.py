"""ultrafast's ways: named queues of a system, and `ultrafast.Queue`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from struct import Struct
from typing import TypeAlias

import ultrafast
from ultrafast.core import Region
from ultrafast.core.leftovers import region_path, remove_region
from ultrafast.settings import encode_config
from ultrafast.sizing import region_sizes

from .ends import BATCH, Contestant, End

__all__ = ["NamedQueues", "SharedQueue"]

_CAPACITY = 1_024
_WAIT_S = 60.0
_CONFIG = ultrafast.Config(workers=0)


class _NamedEnd(End):
    """A connection that puts into one named queue and takes from another."""

    def __init__(self, path: str, outward: str, inward: str) -> None:
        self._bus = ultrafast.connect(path)
        self._queue = self._bus.queue(outward)
        self._receiver = self._bus.queue(inward).receiver(BATCH)
        self.put = self._queue.put_blocking
        self.get = self._receiver.get
        self.poll = self._receiver.get_nowait

    def send_batches(self, payloads: Sequence[bytes], times: int) -> None:
        put_many, count = self._queue.put_many_blocking, len(payloads)
        for _ in repeat(None, times):
            if put_many(payloads, _WAIT_S) != count:
                raise TimeoutError(f"no room for {_WAIT_S:g} s")

    def receive_batches(self, count: int, payload_bytes: int) -> bytes:
        get_many = self._receiver.get_many
        bodies: list[bytes] = []
        while count:
            bodies = get_many(None, _WAIT_S)
            if not bodies:
                raise TimeoutError(f"nothing came for {_WAIT_S:g} s")
            count -= len(bodies)
        return bodies[-1]

    def send_in_place(self, mark: bytes, payload_bytes: int, count: int) -> None:
        lend, put = self._queue.loan, self._queue.put_blocking
        for _ in repeat(None, count):
            loan = lend(payload_bytes, _WAIT_S)  # the receiver may have them all
            loan.write(mark)
            put(loan)

    def receive_in_place(self, count: int, mark_bytes: int) -> bytes:
        get, unpack = self._receiver.get, Struct(f"{mark_bytes}s").unpack_from
        start = b""
        for _ in repeat(None, count):
            (start,) = unpack(get())
        return start

    def close(self) -> None:
        self._receiver.close()
        self._bus.close()


class NamedQueues(Contestant):
    """Bytes through named queues, by connections without an event loop."""

    name = "ultrafast"
    ours = True
    how = (
        "named queues of a system with default settings: put_blocking and get, batches"
        " put_many_blocking and get_many, lent: loan, write and put_blocking; who waits looks"
        " for 50 us at most, less where that was in vain, then sleeps on a futex"
    )
    polls = True
    batch_senders = 4
    lends = True

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return f"ultrafast {ultrafast.__version__}"

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[str]:
        path = region_path("/dev/shm", f"compare-{os.getpid()}-{os.urandom(3).hex()}")
        with Region.create(path, region_sizes(_CONFIG), encode_config(_CONFIG)):
            try:
                yield path
            finally:
                remove_region(path)

    @classmethod
    def near(cls, plumbing: str, number: int) -> End:
        return _NamedEnd(plumbing, "there", "back")

    @classmethod
    def far(cls, plumbing: str) -> End:
        return _NamedEnd(plumbing, "back", "there")


_Queue: TypeAlias = ultrafast.Queue


class _SharedEnd(End):
    def __init__(self, outward: _Queue, inward: _Queue) -> None:
        self.put = outward.put
        self.get = inward.get


class SharedQueue(Contestant):
    """`ultrafast.Queue`, used as a `multiprocessing.Queue` is."""

    name = "ultrafast.Queue"
    ours = True
    how = (
        "put and get of bytes, maxsize 1,024, else as it comes (8 MiB: some 15 items of 64 KiB);"
        " who waits spins for microseconds, then sleeps on a futex"
    )
    polls = False
    batch_senders = 0

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return f"ultrafast {ultrafast.__version__}"

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[tuple[_Queue, _Queue]]:
        there, back = ultrafast.Queue(_CAPACITY), ultrafast.Queue(_CAPACITY)
        try:
            yield there, back
        finally:
            there.close()
            back.close()

    @classmethod
    def near(cls, plumbing: tuple[_Queue, _Queue], number: int) -> End:
        there, back = plumbing
        return _SharedEnd(there, back)

    @classmethod
    def far(cls, plumbing: tuple[_Queue, _Queue]) -> End:
        there, back = plumbing
        return _SharedEnd(back, there)
