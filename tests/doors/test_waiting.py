"""Sleeping until a message comes: in a thread, in a loop, with signals, in other processes."""

import asyncio
import os
import select
import signal
import threading
from pathlib import Path

import pytest

from doors.small import child, eventually
from ultrafast import errors
from ultrafast.core import Queues, Receiver, Region
from ultrafast.core._status import OK
from ultrafast.core._waiting import learned

FUTEX = ("202", "98")  # its number on x86-64, on aarch64


def readable(receiver: Receiver) -> bool:
    return bool(select.select([receiver.fileno()], [], [], 0)[0])


def test_wait_ends_when_the_time_is_up_or_something_is_there(
    queues: Queues, receiver: Receiver
) -> None:
    assert receiver.wait(0) is False
    assert receiver.wait(-1) is False
    assert receiver.wait(0.01) is False
    queues.send(receiver.index, 3, b"x")
    assert receiver.wait(0) is True
    assert receiver.wait() is True
    receiver.take()
    for nonsense in (float("nan"), float("inf"), 1e10):
        with pytest.raises(errors.InvalidArgument, match="a timeout of"):
            receiver.wait(nonsense)


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) == 1, reason="who is waited for could not run: nobody looks"
)
def test_looks_that_were_in_vain_are_tried_again_and_grow_when_they_are_met() -> None:
    long, quick = 10_000_000, 3_000
    in_vain = learned(50, [long] * 33)
    assert in_vain[5:15] == [1_000] * 10  # next to nothing is looked
    assert in_vain[15:17] == [50_000, 1_000]  # but once
    assert in_vain[31:33] == [50_000, 1_000]
    met = learned(50, [long] * 16 + [quick] * 5 + [long])
    assert met[16:] == [50_000] * 5 + [25_000]
    assert learned(50, [long] * 17 + [quick])[-1] == 2 * quick
    assert learned(0, [long] * 20) == [0] * 20  # never, when one may not


def test_a_sender_wakes_a_waiting_thread(queues: Queues, receiver: Receiver) -> None:
    got: list[bytes] = []

    def receive() -> None:
        while len(got) < 200:
            assert receiver.wait(30)
            for message in receiver.take():
                got.append(message.tobytes())
                message.release()

    thread = threading.Thread(target=receive)
    thread.start()
    sent = 0
    while sent < 200:
        sent += queues.send(receiver.index, 0, b"%d" % sent) == OK
        if sent % 16 == 0:
            eventually(lambda upto=sent: len(got) == upto)  # so that it sleeps again and again
    thread.join(30)
    assert got == [b"%d" % n for n in range(200)]


def sleeps_in(path: Path, thread: threading.Thread) -> bool:
    """Whether the thread is in the futex call, on a word of the region's memory."""
    call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
    if call[0] not in FUTEX:
        return False
    maps = Path("/proc/self/maps").read_text().splitlines()
    parts = [line.split()[0].split("-") for line in maps if path.name in line]
    return any(int(start, 16) <= int(call[1], 16) < int(end, 16) for start, end in parts)


def test_close_refuses_while_a_thread_waits(path: Path, queues: Queues, receiver: Receiver) -> None:
    thread = threading.Thread(target=lambda: receiver.wait(60))
    thread.start()
    eventually(lambda: sleeps_in(path, thread))
    with pytest.raises(BufferError, match="1 views, copies or waits"):
        queues.region.close()
    queues.send(receiver.index, 0, b"")
    thread.join(30)
    assert not thread.is_alive()
    queues.region.close()


def test_signal_handlers_run_during_a_wait(path: Path, region: Region) -> None:
    """A handler that returns does not end the wait; one that raises does (PEP 475)."""
    program = """
    import signal, sys
    from ultrafast.core import Queues, Receiver, Region
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    print("ready", flush=True)
    print("woken" if receiver.wait(60) else "timed out", flush=True)
    receiver.take()
    try:
        print("waiting", flush=True)
        receiver.wait()
    except KeyboardInterrupt:
        print("interrupted", receiver.wait(0), flush=True)
    region.close()
    """
    queues = Queues(region)
    with child(program, path) as waiter:
        assert waiter.hear() == "ready"
        waiter.process.send_signal(signal.SIGUSR1)
        assert waiter.hear() == "handled"
        index = queues.find("inbox")
        assert index is not None
        queues.send(index, 0, b"")
        assert waiter.hear() == "woken"
        assert waiter.hear() == "waiting"
        waiter.process.send_signal(signal.SIGINT)
        assert waiter.hear() == "interrupted False"
        assert waiter.end() == ""


def test_pipe_rings_only_a_sleeper(queues: Queues, receiver: Receiver, path: Path) -> None:
    queues.send(receiver.index, 0, b"before")
    assert receiver.arm_pipe() is False  # something is there already
    receiver.take()
    queues.send(receiver.index, 0, b"awake")
    assert not readable(receiver)
    receiver.take()
    assert receiver.arm_pipe() is True
    assert not readable(receiver)
    queues.send(receiver.index, 0, b"asleep")
    assert readable(receiver)
    receiver.drain()
    assert not readable(receiver)
    queues.send(receiver.index, 0, b"woken already")
    assert not readable(receiver)
    assert len(receiver.take()) == 2
    assert receiver.arm_pipe() is True
    receiver.disarm()
    queues.send(receiver.index, 0, b"disarmed")
    assert not readable(receiver)
    assert path.with_name(f"{path.name}.bell.{receiver.index}").is_fifo()


def test_batches_ring_too(queues: Queues, receiver: Receiver) -> None:
    assert receiver.arm_pipe() is True
    assert queues.send_batch(receiver.index, 0, [(b"", *[0] * 9)] * 3) == 3
    assert readable(receiver)


def test_forwarding_rings_too(queues: Queues, receiver: Receiver) -> None:
    target = Receiver(queues, queues.open("other"))
    queues.send(receiver.index, 0, b"")
    (message,) = receiver.take()
    assert target.arm_pipe() is True
    assert message.forward(target.index, 0) == OK
    assert readable(target)


def test_something_else_at_the_pipes_path(queues: Queues, receiver: Receiver, path: Path) -> None:
    path.with_name(f"{path.name}.bell.{receiver.index}").write_text("not a pipe")
    with pytest.raises(errors.RegionDenied, match=r"bell\.0"):
        receiver.fileno()
    with pytest.raises(errors.RegionDenied):
        receiver.arm_pipe()


def test_a_sender_makes_no_pipe(path: Path, queues: Queues, receiver: Receiver) -> None:
    """The region's files were removed; a sender that is still attached leaves nothing behind."""
    assert receiver.arm_pipe() is True
    bell = path.with_name(f"{path.name}.bell.{receiver.index}")
    bell.unlink()
    with Region.attach(path) as other:
        assert Queues(other).send(receiver.index, 0, b"x") == OK
    assert not bell.exists()


def test_the_region_closes_its_pipes(path: Path, region: Region) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Region.attach(path) as other:
        queues = Queues(other)
        receiver = Receiver(queues, queues.open("inbox"))
        assert receiver.fileno() == receiver.fileno()
        # For the lock, for the pipe, and one kept in reserve to ring with.
        assert len(set(os.listdir("/proc/self/fd")) - before) == 3
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_event_loop_sleeps_on_the_pipe(path: Path, queues: Queues, receiver: Receiver) -> None:
    program = """
    import sys, time
    from ultrafast.core import Queues, Region
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    index = queues.find("inbox")
    sent = 0
    while sent < 300:
        sent += queues.send(index, sent % 4, b"%d" % sent) == 0
        if sent % 7 == 0:
            time.sleep(0.001)
    region.close()
    """

    async def receive() -> list[int]:
        loop = asyncio.get_running_loop()
        ring = asyncio.Event()
        loop.add_reader(receiver.fileno(), lambda: (receiver.drain(), ring.set()))
        got: list[int] = []
        try:
            while len(got) < 300:
                taken = receiver.take()
                got += [int(message.tobytes()) for message in taken]
                if not taken and receiver.arm_pipe():
                    await asyncio.wait_for(ring.wait(), 30)
                    ring.clear()
        finally:
            loop.remove_reader(receiver.fileno())
        return got

    with child(program, path) as sender:
        got = asyncio.run(receive())
        sender.end()
    assert sorted(got) == list(range(300))
    for lane in range(4):
        ours = [number for number in got if number % 4 == lane]
        assert ours == sorted(ours)
