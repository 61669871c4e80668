"""Waking another process: a round trip to one that sleeps, beside a socket pair and two pipes.

`gap_us` is how long this process sleeps between trips. With 0 the cores stay awake; with 2,000 they
go idle, and most of a trip is the time that the kernel and the core take to come back.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

from ultrafast.core import Queues, Receiver, Region
from ultrafast.core._region import ROLE_CLIENT

from ._measure import Times, quicker, reports, summary
from ._places import SPAWN, Passed, peer, region

_PAYLOAD = bytes(64)
_END = b"end"
_WAIT_S = 30.0
_ROUNDS = 10

_Trip = Callable[[], None]


@reports("us")
class RoundTrip:
    """64 bytes to another process and back; both ends sleep until they are rung.

    `queue` sleeps on the bell's futex as a thread does, and the peer sends the same block back. The
    others copy the bytes through the kernel four times.
    """

    params = (("queue", "socketpair", "two pipes", "multiprocessing.Pipe"), (0, 2_000))
    param_names = ("through", "gap_us")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        found: dict[tuple[str, int], Times] = {}
        with _queue() as queue, _sockets() as sockets, _pipes() as pipes, _connection() as plain:
            trips = dict(zip(self.params[0], [queue, sockets, pipes, plain], strict=True))
            for trip in trips.values():
                for _ in range(50):
                    trip()
            for gap_us in self.params[1]:
                samples: dict[str, list[int]] = {name: [] for name in trips}
                count = quicker(4_000 if gap_us == 0 else 500, 50) // _ROUNDS
                for _ in range(_ROUNDS):
                    for name, trip in trips.items():
                        samples[name] += _timed(trip, count, gap_us / 1e6)
                for name, times in samples.items():
                    found[name, gap_us] = summary(times)
        return found


def _timed(trip: _Trip, count: int, gap_s: float) -> list[int]:
    times = []
    for _ in range(count):
        if gap_s:
            time.sleep(gap_s)
        start = perf_counter_ns()
        trip()
        times.append(perf_counter_ns() - start)
    return times


@contextmanager
def _queue() -> Iterator[_Trip]:
    ready = SPAWN.Event()
    with region() as place:
        queues = Queues(place)
        there, back = queues.open("there"), queues.open("back")
        receiver = Receiver(queues, back)

        def trip() -> None:
            queues.send(there, 2, _PAYLOAD)
            while not (messages := receiver.take(1)):
                if not receiver.wait(_WAIT_S):
                    raise TimeoutError(f"no answer within {_WAIT_S:g} s")
            messages[0].release()

        with peer(_answer_queue, place.path, ready):
            ready.wait(_WAIT_S)
            yield trip
            queues.send(there, 2, _END)


def _answer_queue(path: str, ready: Any) -> None:
    with Region.attach(path, ROLE_CLIENT) as place:
        queues = Queues(place)
        back = queues.open("back")
        receiver = Receiver(queues, queues.open("there"))
        ready.set()
        while receiver.wait(_WAIT_S):
            for message in receiver.take():
                if message.nbytes == len(_END):
                    message.release()
                    return
                message.forward(back, 2)


@contextmanager
def _sockets() -> Iterator[_Trip]:
    near, far = socket.socketpair()
    near.settimeout(_WAIT_S)

    def trip() -> None:
        near.send(_PAYLOAD)
        near.recv(64)

    with near, peer(_answer_socket, far):
        far.close()
        yield trip
        near.send(_END)


def _answer_socket(far: socket.socket) -> None:
    while (data := far.recv(64)) and data != _END:
        far.send(data)


@contextmanager
def _pipes() -> Iterator[_Trip]:
    there_r, there_w = os.pipe()
    back_r, back_w = os.pipe()

    def trip() -> None:
        os.write(there_w, _PAYLOAD)
        os.read(back_r, 64)

    try:
        with peer(_answer_pipe, Passed(there_r), Passed(back_w)):
            yield trip
            os.write(there_w, _END)
    finally:
        for fd in (there_r, there_w, back_r, back_w):
            os.close(fd)


def _answer_pipe(there_r: int, back_w: int) -> None:
    while (data := os.read(there_r, 64)) != _END:
        os.write(back_w, data)


@contextmanager
def _connection() -> Iterator[_Trip]:
    near, far = SPAWN.Pipe()

    def trip() -> None:
        near.send_bytes(_PAYLOAD)
        near.recv_bytes()

    with peer(_answer_connection, far):
        yield trip
        near.send_bytes(_END)
    near.close()
    far.close()


def _answer_connection(far: Any) -> None:
    while (data := far.recv_bytes()) != _END:
        far.send_bytes(data)
