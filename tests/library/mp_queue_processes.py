"""`ultrafast.Queue` between processes: every start method, forks, and processes that are killed.

Run by `test_mp_queue_processes.py` in a process of its own, which has but one thread: forking one
that has more is what CPython warns of, and rightly.
"""

import os
import queue as standard
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from library.queues import (
    METHODS,
    PATIENCE_S,
    ends_well,
    eventually,
    forward,
    get_for_ever,
    put_for_ever,
    put_numbered,
    put_then_close,
    running,
    take_and_die,
)
from ultrafast import Queue
from ultrafast.core import Queues, Region
from ultrafast.core.leftovers import region_path
from ultrafast.core.sizes import Sizes

pytestmark = pytest.mark.usefixtures("clean_shm")


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


def observed(queue: Queue) -> Region:
    """Another attachment to the queue's region."""
    return Region.attach(f"/proc/self/fd/{queue._anchor}", read_only=True)


def names_in_shm() -> list[str]:
    return [path.name for path in Path("/dev/shm").iterdir() if "ultrafast-queue-" in path.name]


def test_this_process_has_one_thread() -> None:
    assert len(os.listdir("/proc/self/task")) == 1, "run it by test_mp_queue_processes.py"


# --- handed to a process


@pytest.mark.parametrize("method", METHODS)
def test_there_and_back(method: str) -> None:
    there, back = Queue(3), Queue(pickle=True)
    with running(method, forward, there, back) as process:
        for number in range(200):
            there.put([number, b"x" * number])
        there.put(None)
        for number in range(200):
            assert back.get(timeout=PATIENCE_S) == [number, b"x" * number]
        assert back.get(timeout=PATIENCE_S) is None
        ends_well(process)
    there.close()
    back.close()


@pytest.mark.parametrize("method", METHODS)
def test_it_outlives_the_process_that_made_or_filled_it(method: str) -> None:
    source, target = Queue(), Queue()
    for number in range(50):
        source.put(number)
    source.put(None)
    with running(method, forward, source, target) as process:
        source.close()  # before the new process came to attach, most likely
        ends_well(process)
    assert [target.get() for _ in range(51)] == [*range(50), None]
    target.close()


def test_many_putters_and_getters(queue: Queue) -> None:
    bounded, each = Queue(7), 500
    with ExitStack() as stack:
        putters = [
            stack.enter_context(running("fork", put_numbered, bounded, who, each))
            for who in range(3)
        ]
        getters = [stack.enter_context(running("fork", forward, bounded, queue)) for _ in range(3)]
        found: list[tuple[int, int]] = []
        for process in putters:
            ends_well(process)
        for _ in getters:
            bounded.put(None)
        while (item := queue.get(timeout=PATIENCE_S)) is not None or len(found) < 3 * each:
            if item is not None:
                found.append(tuple(item))
        for process in getters:
            ends_well(process)
    assert sorted(found) == [(who, number) for who in range(3) for number in range(each)]
    bounded.close()


def test_the_order_of_each_putter_is_kept(queue: Queue) -> None:
    with ExitStack() as stack:
        for who in range(3):
            stack.enter_context(running("fork", put_numbered, queue, who, 800))
        found = [tuple(queue.get(timeout=PATIENCE_S)) for _ in range(2400)]
    for who in range(3):
        assert [number for sender, number in found if sender == who] == list(range(800))


def test_closing_is_each_process_own_affair(queue: Queue) -> None:
    with running("fork", put_then_close, queue, b"from the child") as process:
        ends_well(process)
    assert queue.get(timeout=PATIENCE_S) == b"from the child"
    queue.put(b"still open")
    assert queue.get() == b"still open"


# --- forks


def in_fork(call: Callable[[], int]) -> int:
    """The exit status of a forked child that calls this: what it answers."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = call()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_plain_fork_takes_items_along_and_brings_some_back(queue: Queue) -> None:
    for number in range(20):
        queue.put(number)

    def child() -> int:
        if [queue.get() for _ in range(10)] != list(range(10)):
            return 1
        queue.put("from the child")
        return 0

    assert in_fork(child) == 0
    assert [queue.get() for _ in range(10)] == list(range(10, 20))
    assert queue.get() == "from the child"


def test_a_fork_of_a_fork(queue: Queue) -> None:
    def child() -> int:
        queue.put(1)
        status = in_fork(grandchild)
        queue.put(3)
        return status

    def grandchild() -> int:
        queue.put(2)
        return 0

    assert in_fork(child) == 0
    assert [queue.get() for _ in range(3)] == [1, 2, 3]


def test_a_fork_that_closes_without_use(queue: Queue) -> None:
    def child() -> int:
        queue.close()
        return 0

    assert in_fork(child) == 0
    queue.put(b"")
    assert queue.get() == b""


# --- deaths


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_dead_getter_had_is_delivered_first(queue: Queue, method: str) -> None:
    for number in range(3):
        queue.put(number)
    with running(method, take_and_die, queue) as process:
        process.join(PATIENCE_S)
        assert process.exitcode == -signal.SIGKILL
    assert queue.qsize() == 2
    with Region.attach(f"/proc/self/fd/{queue._anchor}") as another:
        dead = [info.slot for info in another.owners() if not another.alive(info.slot)]
        mended = [another.recover(slot) for slot in dead]  # as one who waits does
        assert sum(each.orphaned for each in mended if each is not None) == 1
    assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]


def test_a_sleeper_gets_what_a_dead_one_had(queue: Queue) -> None:
    queue.put(b"the only one")
    with running("fork", take_and_die, queue) as process:
        process.join(PATIENCE_S)
    assert queue.get(timeout=PATIENCE_S) == b"the only one"


def test_slots_of_processes_that_just_ended_come_back(queue: Queue) -> None:
    for _ in range(12):
        assert in_fork(lambda: 0 if queue.empty() else 1) == 0
    with observed(queue) as region:

        def alone() -> bool:
            with pytest.raises(standard.Empty):
                queue.get(timeout=0.05)
            return len(region.owners()) == 1

        eventually(alone)


@pytest.mark.parametrize("maxsize", [2, 0])
def test_the_killed_stop_nobody_and_leave_nothing(maxsize: int) -> None:
    queue = Queue(maxsize)
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    choose = random.Random(seed)
    kinds = (put_for_ever, get_for_ever)
    with ExitStack() as stack:
        crew = [[kind, stack.enter_context(running("fork", kind, queue))] for kind in kinds * 2]
        for _ in range(16):
            time.sleep(choose.uniform(0, 0.03))
            victim = choose.choice(crew)
            victim[1].kill()
            victim[1].join(PATIENCE_S)
            # The others go on, and so do we, whatever it held.
            queue.put(b"", timeout=PATIENCE_S)
            queue.get(timeout=PATIENCE_S)
            victim[1] = stack.enter_context(running("fork", victim[0], queue))
        for _, process in crew:
            process.kill()
            process.join(PATIENCE_S)
    with observed(queue) as region:

        def mended() -> bool:
            try:
                while True:
                    item = queue.get(timeout=0.25)
                    assert item == item[:8] * (len(item) // 8)
            except standard.Empty:
                return len(region.owners()) == 1

        eventually(mended)
        # Asleep it kept no block in its cache, and nobody else is there: all of them are back.
        blocks = Queues(region).blocks()
        assert [each.free for each in blocks] == [each.blocks for each in blocks]
    limit = maxsize or 8192
    for _ in range(limit):
        queue.put_nowait(b"")
    with pytest.raises(standard.Full):
        queue.put_nowait(b"")
    queue.close()


# --- /dev/shm


def test_a_queue_has_no_name(queue: Queue) -> None:
    queue.put(b"")
    assert names_in_shm() == []


PROGRAM = """
import multiprocessing, signal, sys, ultrafast

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever those who started it had

def wait(queue, answers):
    answers.put(b"up")
    queue.get()

if __name__ == "__main__":
    queue, answers = ultrafast.Queue(), ultrafast.Queue(2)
    process = multiprocessing.get_context(sys.argv[1]).Process(target=wait, args=(queue, answers))
    process.start()
    answers.get()
    print(process.pid, flush=True)
    queue.get()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_signals(method: str, number: int, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, "-P", str(script), method],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert program.stdout is not None
        int(program.stdout.readline())
        os.killpg(program.pid, number)  # as Ctrl-C at a terminal does: parent and child
        _, complaints = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
    assert program.returncode in (-number, 1, 130)
    assert ("KeyboardInterrupt" in complaints) == (number == signal.SIGINT)
    assert names_in_shm() == []


def test_a_new_queue_removes_what_a_killed_maker_left(tmp_path: Path) -> None:
    sizes = Sizes(buckets=1, queues=2, queue_capacity=16, agents=1, message_blocks=((256, 8),))
    path = region_path(tmp_path, "queue-1-0")

    def die_with_it() -> int:
        Region.create(path, sizes)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_fork(die_with_it) == -signal.SIGKILL
    assert Path(path).exists()
    Queue(directory=tmp_path).close()
    assert list(tmp_path.iterdir()) == []
