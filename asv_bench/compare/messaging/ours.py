"""ultrafast's ways: the queues of a region through the doors of the core, and `ultrafast.Queue`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import TypeAlias

import ultrafast
from ultrafast.core import Queues, Receiver, Region, Sizes
from ultrafast.core._region import ROLE_CLIENT
from ultrafast.core.leftovers import region_path, remove_region

from .ends import BATCH, Contestant, End

__all__ = ["CoreQueues", "SharedQueue"]

_LANE = 2  # neither urgent nor a low one
_CAPACITY = 1_024
_WAIT_S = 60.0
_SIZES = Sizes(
    owners=16,
    buckets=1_024,
    extensions=256,
    queues=8,
    queue_capacity=_CAPACITY,
    agents=64,
    shards=2,
    message_blocks=((256, 8_192), (2_048, 4_096), (65_600, 512)),
    value_blocks=((256, 64),),
)


class _CoreEnd(End):
    """Attached to the region; sends to one queue, takes from another."""

    def __init__(self, path: str, outward: str, inward: str) -> None:
        self._region = Region.attach(path, ROLE_CLIENT)
        self._queues = Queues(self._region)
        self._outward = self._queues.open(outward)
        self._receiver = Receiver(self._queues, self._queues.open(inward))

    def put(self, data: bytes) -> None:
        while self._queues.send(self._outward, _LANE, data):
            os.sched_yield()

    def get(self) -> bytes:
        while not (taken := self._receiver.take(1)):
            self._receiver.wait(_WAIT_S)
        message = taken[0]
        data = message.tobytes()
        message.release()
        return data

    def poll(self) -> bytes | None:
        taken = self._receiver.take(1)
        if not taken:
            return None
        message = taken[0]
        data = message.tobytes()
        message.release()
        return data

    def send_all(self, payload: bytes, count: int) -> None:
        send, outward, lane = self._queues.send, self._outward, _LANE
        for _ in repeat(None, count):
            while send(outward, lane, payload):
                os.sched_yield()

    def receive_all(self, count: int, payload_bytes: int) -> bytes:
        take, wait = self._receiver.take, self._receiver.wait
        data = b""
        while count:
            taken = take(1)
            if not taken:
                wait(_WAIT_S)
                continue
            message = taken[0]
            data = message.tobytes()
            message.release()
            count -= 1
        return data

    def send_batches(self, payloads: Sequence[bytes], times: int) -> None:
        send, outward, lane = self._queues.send_batch, self._outward, _LANE
        for _ in repeat(None, times):
            items = [(payload, 0, 0, 0, 0, 0, 0, 0, 0, 0) for payload in payloads]
            sent = send(outward, lane, items)
            while sent < len(items):
                os.sched_yield()
                sent += send(outward, lane, items[sent:])

    def receive_batches(self, count: int, payload_bytes: int) -> bytes:
        take, wait = self._receiver.take, self._receiver.wait
        data = b""
        while count:
            taken = take(BATCH)
            if not taken:
                wait(_WAIT_S)
            for message in taken:
                data = message.tobytes()
                message.release()
            count -= len(taken)
        return data

    def close(self) -> None:
        self._region.close()


class CoreQueues(Contestant):
    """Bytes through a queue of a region: what the bus and `ultrafast.Queue` stand on."""

    name = "ultrafast"
    ours = True
    how = (
        "core doors: send copies into a block of the region (yields while the lane is full),"
        " take copies out and releases; the receiver sleeps on a futex; queue of 1,024"
    )
    polls = True
    batch_senders = 4

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
        with Region.create(path, _SIZES):
            try:
                yield path
            finally:
                remove_region(path)

    @classmethod
    def near(cls, plumbing: str, number: int) -> End:
        return _CoreEnd(plumbing, "there", "back")

    @classmethod
    def far(cls, plumbing: str) -> End:
        return _CoreEnd(plumbing, "back", "there")


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
