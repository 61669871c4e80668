"""What the tests of `ultrafast.Queue` run in other processes, by every way to start one.

Stands on multiprocessing; functions at module level, so that a new interpreter finds them.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ultrafast import Queue
from ultrafast.core import Queues, Receiver, Region

__all__ = [
    "METHODS",
    "PATIENCE_S",
    "ends_well",
    "eventually",
    "forward",
    "get_for_ever",
    "put_for_ever",
    "put_numbered",
    "put_then_close",
    "running",
    "take_and_die",
]

METHODS = ("fork", "spawn", "forkserver")
PATIENCE_S = 60.0


def eventually(holds: Callable[[], object]) -> None:
    """Wait until it holds; a watchdog, not a measurement."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


@contextmanager
def running(method: str, target: Callable[..., None], *args: Any) -> Iterator[Any]:
    """A process that runs `target(*args)`; it does not outlive the block."""
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=target, args=args)
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join(PATIENCE_S)
        process.close()


def ends_well(process: Any) -> None:
    """Wait for its normal end."""
    process.join(PATIENCE_S)
    assert process.exitcode == 0, process.exitcode


def put_numbered(queue: Queue, who: int, count: int) -> None:
    """Put (who, 0), (who, 1) and so on."""
    for number in range(count):
        queue.put((who, number))


def forward(source: Queue, target: Queue) -> None:
    """Pass on what comes, up to and with the first None."""
    while True:
        item = source.get()
        target.put(item)
        if item is None:
            return


def put_for_ever(queue: Queue) -> None:
    """Put items of several sizes until the process is killed."""
    number = 0
    while True:
        number += 1
        queue.put(number.to_bytes(8, "little") * (1 + number % 200))


def get_for_ever(queue: Queue) -> None:
    """Take items until the process is killed."""
    while True:
        queue.get()


def take_and_die(queue: Queue) -> None:
    """Take the oldest item, and be killed before it is handed to anybody."""
    with Region.attach(f"/proc/self/fd/{queue._anchor}") as region:
        queues = Queues(region)
        (taken,) = Receiver(queues, queues.open("items")).take(1)
        assert not taken.released
        os.kill(os.getpid(), signal.SIGKILL)


def put_then_close(queue: Queue, obj: object) -> None:
    """Put, close, and end."""
    queue.put(obj)
    queue.close()
