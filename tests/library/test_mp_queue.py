"""`ultrafast.Queue` within one process: limits, waits, sizes of items, what may be put, closing."""

import gc
import os
import pickle
import queue as standard
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from library.queues import eventually
from ultrafast import Queue
from ultrafast.codec import RAW
from ultrafast.errors import DecodeError, EncodeError, InvalidArgument, MessageTooBig, RegionMissing

pytestmark = pytest.mark.usefixtures("clean_shm")

SHORT_S = 0.15
KIB = 1024
MIB = KIB * KIB
FUTEX = ("202", "98")  # its number on x86-64, on aarch64


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


def waits(call: Any, error: type[Exception]) -> float:
    """The seconds that a call took to raise this error."""
    start = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - start


# --- order and limits


def test_items_come_out_in_order(queue: Queue) -> None:
    for number in range(1000):
        queue.put(number)
    assert [queue.get() for _ in range(1000)] == list(range(1000))
    assert queue.empty()


@pytest.mark.parametrize("maxsize", [1, 2, 3, 5, 8, 100])
def test_a_limit_is_exact(maxsize: int) -> None:
    queue = Queue(maxsize)
    for laps in range(3):
        for number in range(maxsize):
            assert not queue.full()
            assert queue.qsize() == number
            queue.put_nowait(b"item")
        assert queue.full() and queue.qsize() == maxsize
        for block, timeout in ((False, None), (True, 0), (True, 0.01), (False, 10)):
            with pytest.raises(standard.Full):
                queue.put(b"one more", block, timeout)
        for _ in range(maxsize if laps else 1):
            assert queue.get_nowait() == b"item"
            assert not queue.full()
        while not queue.empty():
            queue.get_nowait()
    queue.close()


@pytest.mark.parametrize("maxsize", [0, -1])
def test_no_limit_stands_for_8192(maxsize: int) -> None:
    queue = Queue(maxsize)
    for _ in range(8192):
        queue.put_nowait(b"x" * 192)
    assert queue.full()
    with pytest.raises(standard.Full):
        queue.put_nowait(b"")
    assert all(len(queue.get_nowait()) == 192 for _ in range(8192))
    queue.close()


def test_a_large_limit_holds_as_many_small_items() -> None:
    queue = Queue(20_000)
    for number in range(20_000):
        queue.put_nowait(number)
    assert queue.qsize() == 20_000
    assert [queue.get_nowait() for _ in range(20_000)] == list(range(20_000))
    queue.close()


def test_empty_is_an_answer(queue: Queue) -> None:
    assert queue.empty() and not queue.full() and queue.qsize() == 0
    for block, timeout in ((False, None), (True, 0), (True, -1), (False, 10)):
        with pytest.raises(standard.Empty):
            queue.get(block, timeout)
    with pytest.raises(standard.Empty):
        queue.get_nowait()


def test_arguments_by_name(queue: Queue) -> None:
    queue.put(obj=b"a", block=False, timeout=None)
    queue.put(b"b", timeout=1)
    assert queue.get(timeout=1) == b"a"
    assert queue.get(block=True, timeout=None) == b"b"


# --- waits


def test_timeouts_are_not_early() -> None:
    queue = Queue(1)
    assert waits(lambda: queue.get(timeout=SHORT_S), standard.Empty) >= SHORT_S
    queue.put(b"")
    assert waits(lambda: queue.put(b"", timeout=SHORT_S), standard.Full) >= SHORT_S
    assert waits(lambda: queue.put({"a": 1}, True, SHORT_S), standard.Full) >= SHORT_S
    queue.close()


def in_background(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def asleep(thread: threading.Thread) -> None:
    """Give it time to begin its wait; that it did not end is what the caller then sees."""
    time.sleep(SHORT_S)
    assert thread.is_alive()


def test_get_waits_for_a_put(queue: Queue) -> None:
    found: list[Any] = []
    getter = in_background(lambda: found.append(queue.get()))
    asleep(getter)
    queue.put(b"at last")
    getter.join(10)
    assert found == [b"at last"]


def test_put_waits_for_a_get() -> None:
    queue = Queue(1)
    queue.put(b"first")
    putter = in_background(lambda: queue.put(b"second"))
    asleep(putter)
    assert queue.get() == b"first"
    putter.join(10)
    assert not putter.is_alive()
    assert queue.get(timeout=10) == b"second"
    queue.close()


def test_one_item_wakes_one_of_many_and_the_others_sleep_on(queue: Queue) -> None:
    found: list[Any] = []
    getters = [in_background(lambda: found.append(queue.get())) for _ in range(6)]
    for each in getters:
        asleep(each)
    for number in range(6):
        queue.put(number)
    for each in getters:
        each.join(10)
    assert sorted(found) == list(range(6))
    assert queue.empty()


def test_a_wait_for_memory_ends_when_there_is_some() -> None:
    queue = Queue(100)
    large = bytes(MIB)
    count = 0
    with pytest.raises(standard.Full):
        while True:
            queue.put_nowait(large)
            count += 1
    assert count >= 2 and not queue.full()
    putter = in_background(lambda: queue.put(large))
    asleep(putter)
    for _ in range(count):
        assert queue.get() == large
    putter.join(10)
    assert queue.get(timeout=10) == large
    queue.close()


def sleeps_on(queue: Queue, thread: threading.Thread) -> bool:
    """Whether the thread is in the futex call, on a word of the queue's memory."""
    call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
    if call[0] not in FUTEX:
        return False
    with Path("/proc/self/maps").open() as maps:
        parts = [line.split()[0].split("-") for line in maps if "ultrafast-queue-" in line]
    return any(int(start, 16) <= int(call[1], 16) < int(end, 16) for start, end in parts)


@pytest.mark.parametrize("end", ["put", "get"])
def test_a_long_wait_sleeps_in_the_kernel(end: str) -> None:
    queue = Queue(1)
    if end == "put":
        queue.put(b"")
    thread = in_background(lambda: queue.put(b"") if end == "put" else queue.get())
    for _ in range(20):  # again and again, so it is not in passing
        eventually(lambda: sleeps_on(queue, thread))
    if end == "put":
        queue.get()
    else:
        queue.put(b"")
    thread.join(10)
    assert not thread.is_alive()
    queue.close()


def test_a_signal_handler_that_raises_ends_a_wait(queue: Queue) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Alarm):
            queue.get(timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    queue.put(b"goes on")
    assert queue.get() == b"goes on"


# --- threads


@pytest.mark.parametrize("maxsize", [1, 3, 0])
def test_threads_lose_and_double_nothing(maxsize: int) -> None:
    queue = Queue(maxsize)
    putters, getters, each = 3, 3, 600
    found: list[list[tuple[int, int]]] = [[] for _ in range(getters)]

    def put(who: int) -> None:
        for number in range(each):
            queue.put([who, number])

    def get(mine: list[tuple[int, int]]) -> None:
        while (item := queue.get()) is not None:
            mine.append(tuple(item))

    senders = [in_background(lambda who=who: put(who)) for who in range(putters)]
    takers = [in_background(lambda mine=mine: get(mine)) for mine in found]
    for thread in senders:
        thread.join(60)
    for _ in takers:
        queue.put(None)
    for thread in takers:
        thread.join(60)
    everything = Counter(item for mine in found for item in mine)
    assert everything == Counter((who, number) for who in range(putters) for number in range(each))
    for mine in found:  # of each sender, in the order that it put them
        for who in range(putters):
            numbers = [number for sender, number in mine if sender == who]
            assert numbers == sorted(numbers)
    queue.close()


# --- what may be put


@dataclass
class Point:
    x: int
    y: float


class Row(msgspec.Struct):
    name: str
    tags: list[str]


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b"", b""),
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        ("text ü", "text ü"),
        (0, 0),
        (-(2**63), -(2**63)),
        (1.5, 1.5),
        (None, None),
        (True, True),
        ([1, [2, "three"]], [1, [2, "three"]]),
        ((1, 2), [1, 2]),
        ({"a": {"b": [None, b"c"]}}, {"a": {"b": [None, b"c"]}}),
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (Row("r", ["a"]), {"name": "r", "tags": ["a"]}),
    ],
    ids=repr,
)
def test_objects_arrive_in_their_plain_form(queue: Queue, sent: object, arrives: object) -> None:
    queue.put(sent)
    received = queue.get()
    assert received == arrives and type(received) is type(arrives)


def test_arrays_arrive(queue: Queue) -> None:
    sent = np.arange(12, dtype=np.float32).reshape(3, 4)
    queue.put(sent)
    received = queue.get()
    assert received.dtype == sent.dtype and np.array_equal(received, sent)


@pytest.mark.parametrize("size", [0, 1, 192, 193, KIB, 8 * KIB + 1, 64 * KIB, 300 * KIB, MIB])
def test_sizes_up_to_the_largest(queue: Queue, size: int) -> None:
    sent = os.urandom(size)
    for _ in range(5):
        queue.put(sent)
        assert queue.get() == sent


def test_what_never_fits_is_refused_at_once(queue: Queue) -> None:
    with pytest.raises(MessageTooBig, match="1048577 bytes"):
        queue.put(bytes(MIB + 1))
    with pytest.raises(MessageTooBig):
        queue.put("x" * MIB)
    assert queue.empty()
    larger = Queue(max_item_bytes=3 * MIB)
    larger.put(bytes(3 * MIB))
    assert larger.get() == bytes(3 * MIB)
    larger.close()


class Anything:
    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anything) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # it is compared, never hashed


def test_what_has_no_plain_form_is_refused(queue: Queue) -> None:
    for refused in (object(), Anything(1), 2**70, {"a": [print]}):
        with pytest.raises(EncodeError):
            queue.put(refused)
    assert queue.empty()


def test_pickle_by_opt_in() -> None:
    queue = Queue(pickle=True)
    for sent in (Anything([1]), (1, {2}), Point(1, 2.0), 2**70, b"raw", None):
        queue.put(sent)
        received = queue.get()
        assert received == sent and type(received) is type(sent)
    with pytest.raises(EncodeError, match="can't be pickled"):
        queue.put(lambda: None)
    assert queue.empty()
    queue.close()


class Harm:
    done = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Harm, "done", True)


def test_nothing_is_unpickled_without_opt_in(queue: Queue) -> None:
    harm = pickle.dumps(Harm())
    for codec in (128, RAW, 0, 2, 77, 255):
        queue._send_within(harm, codec, 0)
        if codec == RAW:
            assert queue.get() == harm
        else:
            with pytest.raises(DecodeError):
                queue.get()
    assert not Harm.done


# --- closing


def test_after_close_every_call_raises(queue: Queue) -> None:
    queue.put(b"left")
    queue.close()
    queue.close()
    for call in (
        lambda: queue.put(b""),
        lambda: queue.put([1]),
        lambda: queue.put_nowait(b""),
        queue.get,
        queue.get_nowait,
        queue.qsize,
        queue.empty,
        queue.full,
    ):
        with pytest.raises(ValueError, match="is closed"):
            call()
    queue.join_thread()
    queue.cancel_join_thread()
    assert repr(queue) == "<ultrafast.Queue maxsize=8192 closed>"


def test_closing_ends_waits() -> None:
    queue, full = Queue(), Queue(1)
    full.put(b"")
    raised: list[str] = []

    def wait(call: Any) -> None:
        try:
            call()
        except ValueError as error:
            raised.append(str(error))

    threads = [
        in_background(lambda: wait(queue.get)),
        in_background(lambda: wait(lambda: full.put(1))),
    ]
    for thread in threads:
        asleep(thread)
    queue.close()
    full.close()
    for thread in threads:
        thread.join(10)
    assert len(raised) == 2 and all("is closed" in each for each in raised)


def test_descriptors_and_memory_go_with_the_object() -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text()
        return len(os.listdir("/proc/self/fd")), maps.count("ultrafast-queue-")

    Queue().close()
    before = held()
    for _ in range(10):
        queue = Queue(4)
        queue.put(b"x")
    assert held()[1] > before[1]
    del queue
    gc.collect()
    assert held() == before


def test_pickling_is_for_processes_that_start(queue: Queue) -> None:
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(queue)


@pytest.mark.parametrize(
    "wrong", [{"maxsize": 1 << 30}, {"memory_bytes": 1}, {"max_item_bytes": 0}], ids=repr
)
def test_sizes_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidArgument, match=name):
        Queue(**wrong)  # type: ignore[arg-type]  # one of several ints


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegionMissing):
        Queue(directory=tmp_path / "none")
    queue = Queue(directory=tmp_path)
    assert list(tmp_path.iterdir()) == []
    queue.put(b"elsewhere")
    assert queue.get() == b"elsewhere"
    queue.close()


def test_an_interpreter_ends_in_silence_with_queues_open() -> None:
    code = (
        "import ultrafast, threading\n"
        "kept = ultrafast.Queue()\nkept.put({'a': 1})\n"
        "threading.Thread(target=ultrafast.Queue().get, daemon=True).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
