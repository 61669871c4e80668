"""Queues: a handle through a ring, a payload through a queue, and both between processes.

In company: what Python has for the same job, in one process and between two.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from time import perf_counter_ns
from typing import Any

from ultrafast.core import Queues, Receiver, Region
from ultrafast.core._region import ROLE_CLIENT
from ultrafast.core._status import FULL, NO_BLOCK, OK

from ._measure import QUICK, Rival, Times, marked, quicker, reports, run_rivals
from ._places import SPAWN, Passed, peer, region

_BATCH = 32


@reports("ns", to_floor=True)
class Handle:
    """Push and pop of a handle in one process: the bare ring.

    `Queues.echo` takes a block, pushes its handle, pops it and gives the block back, in one call.
    """

    params = (
        ("ring", "deque", "queue.SimpleQueue", "queue.Queue"),
        (64, 1_024, 16_384),
    )
    param_names = ("through", "capacity")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            for capacity in self.params[1]:
                place = stack.enter_context(region(queue_capacity=capacity))
                queues = Queues(place)
                index = queues.open("bench")
                rivals |= {
                    ("ring", capacity): Rival("echo(at)", {"echo": queues.echo, "at": index}),
                    ("deque", capacity): _in_and_out("append", "popleft", deque(maxlen=capacity)),
                    ("queue.SimpleQueue", capacity): _in_and_out("put", "get", queue.SimpleQueue()),
                    ("queue.Queue", capacity): _in_and_out("put", "get", queue.Queue(capacity)),
                }
            floor = Rival("noop(at)", {"noop": queues.noop, "at": 0})
            return run_rivals(rivals, floor=floor)


def _in_and_out(put: str, get: str, line: Any) -> Rival:
    names = {"put": getattr(line, put), "get": getattr(line, get), "item": 12_345}
    return Rival("put(item)\nget()", names)


@reports("ns", to_floor=True)
class Payload:
    """Send a payload and take it again in one process, per message.

    `message` reads it in place; `message, copied` makes bytes of it, as all the company does. A
    batch is 32 messages. Python's queues hand over a reference and copy nothing.
    """

    params = (
        (
            "message",
            "message, copied",
            "messages in batches",
            "queue.SimpleQueue, by reference",
            "deque in batches, by reference",
            "os.pipe",
            "multiprocessing.Queue",
        ),
        (64, 1_024, 65_536),
    )
    param_names = ("through", "payload_bytes")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        with ExitStack() as stack:
            queues = Queues(stack.enter_context(region()))
            index = queues.open("bench")
            rivals: dict[tuple[str, int], Rival] = {}
            for nbytes in self.params[1]:
                payload = os.urandom(nbytes)
                for name, rival in {
                    **_doors(queues, index, payload),
                    **_company(stack, payload),
                }.items():
                    rivals[name, nbytes] = rival
            floor = Rival("noop(at)", {"noop": queues.noop, "at": 0})
            return run_rivals(rivals, floor=floor)


def _doors(queues: Queues, index: int, payload: bytes) -> dict[str, Rival]:
    take = Receiver(queues, index).take
    names = {"send": queues.send, "take": take, "at": index, "payload": payload}
    batch = [(payload, 0, 0, 0, 0, 0, 0, 0, 0, 0)] * _BATCH
    return {
        "message": Rival(
            "send(at, 2, payload)\nmessage, = take(1)\nmessage.payload\nmessage.release()", names
        ),
        "message, copied": Rival(
            "send(at, 2, payload)\nmessage, = take(1)\nmessage.tobytes()\nmessage.release()", names
        ),
        "messages in batches": Rival(
            "send_batch(at, 2, batch)\n"
            "for message in take(count):\n    message.payload\n    message.release()",
            {
                "send_batch": queues.send_batch,
                "take": take,
                "at": index,
                "batch": batch,
                "count": _BATCH,
            },
            per=_BATCH,
        ),
    }


def _company(stack: ExitStack, payload: bytes) -> dict[str, Rival]:
    simple: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    line: deque[bytes] = deque()
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    pipe = {"read": os.read, "write": os.write, "r": reader, "w": writer, "data": payload}
    rivals = {
        "queue.SimpleQueue, by reference": _in_and_out("put", "get", simple),
        "deque in batches, by reference": Rival(
            "extend(batch)\nfor item in batch:\n    pop()",
            {"extend": line.extend, "pop": line.popleft, "batch": [payload] * _BATCH},
            per=_BATCH,
        ),
        # As much as a pipe holds by default is what the largest payload needs.
        "os.pipe": Rival("write(w, data)\nread(r, size)", {**pipe, "size": len(payload)}),
    }
    many: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    stack.callback(many.close)
    names = {"put": many.put, "get": many.get, "data": payload}
    rivals["multiprocessing.Queue"] = Rival("put(data)\nget()", names)
    return rivals


@reports("ns", to_floor=True)
class Refused:
    """What a refusal costs the sender of 64 bytes: an answer, no wait."""

    params = ("full lane", "exhausted pool")
    param_names = ("why",)

    def setup_cache(self) -> dict[tuple[str], Times]:
        with ExitStack() as stack:
            short = Queues(stack.enter_context(region(queue_capacity=64)))
            poor = Queues(stack.enter_context(region(message_blocks=((256, 512),))))
            payload = bytes(64)
            rivals = {}
            for why, status, queues in (
                ("full lane", FULL, short),
                ("exhausted pool", NO_BLOCK, poor),
            ):
                index = queues.open("bench")
                while queues.send(index, 2, payload) == OK:
                    pass
                if queues.send(index, 2, payload) != status:
                    raise RuntimeError(f"what ended the filling was not a {why}")
                rivals[(why,)] = Rival(
                    "send(index, 2, payload)",
                    {"send": queues.send, "index": index, "payload": payload},
                )
            floor = Rival("noop(at)", {"noop": short.noop, "at": 0})
            return run_rivals(rivals, floor=floor)


# --- between processes

_PAYLOAD = 64
_GO_S = 30.0


class Crossing:
    """Messages of 64 bytes from other processes into this one, a second: all ends busy.

    Messages are taken as they are there, up to 32 at a time. The senders try again at once when
    their queue is full, as somebody does who has nothing else to do.
    """

    params = (
        ("queue", "queue in batches", "os.pipe", "multiprocessing.Queue"),
        (1, 2),
        (64, 4_096),
    )
    param_names = ("through", "senders", "capacity")
    skip_params = (("os.pipe", 1, 64), ("os.pipe", 2, 64))  # a pipe has a capacity of its own

    @marked(unit="messages/s")
    def track_messages_per_s(self, through: str, senders: int, capacity: int) -> float:
        count = quicker(60_000, 2_000) // senders
        run = {
            "queue": _cross_queue,
            "queue in batches": _cross_queue,
            "os.pipe": _cross_pipe,
            "multiprocessing.Queue": _cross_multiprocessing,
        }[through]
        trials = [run(through, senders, capacity, count) for _ in range(1 if QUICK else 3)]
        return round(median(trials))


def _timed(ready: Any, go: Any, senders: int, total: int, receive: Callable[[int], None]) -> float:
    for _ in range(senders):
        if not ready.acquire(timeout=_GO_S):
            raise TimeoutError(f"a sender did not come up within {_GO_S:g} s")
    go.set()
    start = perf_counter_ns()
    receive(total)
    return total / (perf_counter_ns() - start) * 1e9


def _cross_queue(through: str, senders: int, capacity: int, count: int) -> float:
    ready, go = SPAWN.Semaphore(0), SPAWN.Event()
    with ExitStack() as stack:
        place = stack.enter_context(region(queue_capacity=capacity))
        queues = Queues(place)
        receiver = Receiver(queues, queues.open("bench"))
        batch = _BATCH if "batches" in through else 1
        for _ in range(senders):
            stack.enter_context(peer(_send_to_queue, place.path, count, batch, ready, go))

        def receive(total: int) -> None:
            while total > 0:
                messages = receiver.take(_BATCH)
                if not messages and not receiver.wait(_GO_S):
                    raise TimeoutError(f"no message within {_GO_S:g} s, {total} are missing")
                for message in messages:
                    message.payload.release()
                    message.release()
                total -= len(messages)

        return _timed(ready, go, senders, senders * count, receive)


def _send_to_queue(path: str, count: int, batch: int, ready: Any, go: Any) -> None:
    with Region.attach(path, ROLE_CLIENT) as place:
        queues = Queues(place)
        index = queues.open("bench")
        payload = bytes(_PAYLOAD)
        items = [(payload, 0, 0, 0, 0, 0, 0, 0, 0, 0)] * batch
        ready.release()
        go.wait(_GO_S)
        if batch == 1:
            for _ in range(count):
                while queues.send(index, 2, payload) != OK:
                    os.sched_yield()
            return
        while count > 0:
            sent = queues.send_batch(index, 2, items[:count])
            count -= sent
            if sent == 0:
                os.sched_yield()


def _cross_pipe(through: str, senders: int, capacity: int, count: int) -> float:
    ready, go = SPAWN.Semaphore(0), SPAWN.Event()
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        for _ in range(senders):
            stack.enter_context(peer(_send_to_pipe, Passed(writer), count, ready, go))

        def receive(total: int) -> None:
            left = total * _PAYLOAD
            while left > 0:
                left -= len(os.read(reader, _PAYLOAD))

        return _timed(ready, go, senders, senders * count, receive)


def _send_to_pipe(writer: int, count: int, ready: Any, go: Any) -> None:
    payload = bytes(_PAYLOAD)
    ready.release()
    go.wait(_GO_S)
    for _ in range(count):
        os.write(writer, payload)


def _cross_multiprocessing(through: str, senders: int, capacity: int, count: int) -> float:
    ready, go = SPAWN.Semaphore(0), SPAWN.Event()
    line = SPAWN.Queue(capacity)
    with ExitStack() as stack:
        for _ in range(senders):
            stack.enter_context(peer(_send_to_multiprocessing, line, count, ready, go))

        def receive(total: int) -> None:
            for _ in range(total):
                line.get(timeout=_GO_S)

        speed = _timed(ready, go, senders, senders * count, receive)
    line.close()
    return speed


def _send_to_multiprocessing(line: Any, count: int, ready: Any, go: Any) -> None:
    payload = bytes(_PAYLOAD)
    ready.release()
    go.wait(_GO_S)
    for _ in range(count):
        line.put(payload)
