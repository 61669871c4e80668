"""Other processes: they exchange messages, die at awkward moments, fork, and exit."""

import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from doors.small import child
from ultrafast.core import Agents, Metrics, Queues, Receiver, Region, Table, _region, now_ns
from ultrafast.core._agents import ACTIVE, STOPPED
from ultrafast.core._status import OK

PREAMBLE = """
import os, sys
from ultrafast.core import Agents, Metrics, Queues, Receiver, Region, Table, now_ns
from ultrafast.core._agents import ACTIVE, BUILDING, STARTING, WARM
region = Region.attach(sys.argv[1])
queues = Queues(region)
def pause(text):
    print(text, flush=True)
    sys.stdin.readline()
"""


def program(text: str) -> str:
    return PREAMBLE + textwrap.dedent(text)


def free_blocks(path: Path) -> list[bool]:
    """Which pools have every block back, seen by a process that has none."""
    with Region.attach(path, read_only=True) as region:
        counts = Queues(region).blocks() + Table(region).blocks()
        return [each.free == each.blocks for each in counts]


def test_two_processes_exchange_messages(path: Path, region: Region) -> None:
    echo = program("""
    receiver = Receiver(queues, queues.open("worker"))
    print("ready", flush=True)
    left = 100
    while left:
        receiver.wait()
        for message in receiver.take():
            answer = message.tobytes()[::-1]
            queues.send(message.reply_queue - 1, 0, answer, 2, 0, 0, 0, message.correlation)
            message.release()
            left -= 1
    region.close()
    """)
    queues = Queues(region)
    mine = Receiver(queues, queues.open("main"))
    with child(echo, path) as other:
        other.hear()
        worker = queues.find("worker")
        assert worker is not None
        answers: dict[int, bytes] = {}
        for number in range(100):
            payload = b"%d" % number * (number + 1)
            assert (
                queues.send(worker, 1, payload, 1, 0, 0, 0, number, now_ns(), mine.index + 1) == OK
            )
            assert mine.wait(30)
            for message in mine.take():
                answers[message.correlation] = message.tobytes()
                message.release()
        other.end()
    assert answers == {n: (b"%d" % n * (n + 1))[::-1] for n in range(100)}


def test_sender_killed_before_and_after_sending(path: Path, region: Region) -> None:
    """What it sent is delivered; what it had not sent, caches included, is free again."""
    sender = program("""
    index = queues.open("inbox")
    for number in range(10):
        queues.send(index, number % 4, b"%d" % number)
    pause(region.slot)
    """)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    with child(sender, path) as other:
        slot = int(other.hear())
        assert region.recover(slot) is None  # alive
        other.kill()
    assert not region.alive(slot)
    assert region.owner(slot).phase == _region.PHASE_LIVE  # nobody has looked yet
    mended = region.recover(slot)
    assert mended is not None
    assert (mended.slot, mended.unclaimed, mended.orphaned) == (slot, 0, 0)
    assert region.recover(slot) is None  # it is free by now
    assert region.owner(slot).phase == _region.PHASE_FREE
    taken = receiver.take()
    assert sorted(int(each.tobytes()) for each in taken) == list(range(10))
    assert not any(each.redelivered for each in taken)
    for message in taken:
        message.release()
    region.close()
    assert all(free_blocks(path))


def test_receiver_killed_with_messages_in_hand(path: Path, region: Region) -> None:
    """What it was handling is adopted in order and marked; what it had handled is gone."""
    holder = program("""
    receiver = Receiver(queues, queues.open("inbox"))
    taken = receiver.take(6)
    for message in taken[:2]:
        message.release()
    pause(region.slot)
    """)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    for number in range(8):
        assert (
            queues.send(receiver.index, 1, b"%d" % number, 0, 0, 0, 0, 0, 0, 0, 2 * (number == 3))
            == OK
        )
    with child(holder, path) as other:
        slot = int(other.hear())
        other.kill()
    assert receiver.arm_pipe() is False  # two are there still
    mended = region.recover(slot)
    assert mended is not None
    assert (mended.orphaned, mended.dropped) == (3, 1)  # number 3 was sent at most once
    assert receiver.has_orphans
    adopted = receiver.adopt()
    assert [int(each.tobytes()) for each in adopted] == [2, 4, 5]
    assert all(each.redelivered and each.attempt == 1 for each in adopted)
    assert not receiver.has_orphans
    assert [int(each.tobytes()) for each in receiver.take()] == [6, 7]
    del adopted
    region.close()
    assert all(free_blocks(path))


def test_recovery_rings_the_heirs_bell(path: Path, region: Region) -> None:
    holder = program("""
    taken = Receiver(queues, queues.open("inbox")).take()
    pause(region.slot)
    """)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    queues.send(receiver.index, 0, b"x")
    with child(holder, path) as other:
        slot = int(other.hear())
        assert receiver.arm_pipe() is True  # nothing there, asleep
        other.kill()
    assert region.recover(slot) is not None
    assert select.select([receiver.fileno()], [], [], 30)[0]
    assert [each.tobytes() for each in receiver.adopt()] == [b"x"]


def test_builder_and_starter_killed(path: Path, region: Region) -> None:
    builder = program("""
    agents = Agents(region)
    kind = agents.type("coder")
    made = [agents.new(kind, 0, 0, state, 5, 0, now_ns()) for state in (BUILDING, STARTING)]
    warm, active = (agents.new(kind, 0, 0, BUILDING, 5, 0, now_ns()) for _ in range(2))
    agents.move(warm, BUILDING, WARM)
    agents.move(active, BUILDING, WARM)
    claimed, _ = agents.claim(kind, 0, 0, now_ns())
    agents.move(claimed, STARTING, ACTIVE)
    pause(f"{region.slot} {made[0]} {made[1]} {claimed}")
    """)
    agents = Agents(region)
    with child(builder, path) as other:
        slot, building, starting, active = map(int, other.hear().split())
        other.kill()
    mended = region.recover(slot)
    assert mended is not None
    assert (mended.freed_agents, mended.stopped_agents, mended.warm_agents) == (1, 1, 1)
    assert agents.look(building) is None
    states = {each: info.state for each in (starting, active) if (info := agents.look(each))}
    assert states == {starting: STOPPED, active: ACTIVE}
    assert agents.claim(agents.type("coder"), 0, 0, now_ns()) is not None
    assert agents.claim(agents.type("coder"), 0, 0, now_ns()) is None


def test_metrics_and_values_outlive_their_process(path: Path, region: Region) -> None:
    worker = program("""
    Metrics(region).record(3, 1000)
    Metrics(region).add(7, 5)
    Table(region).set("notes", "key", "value")
    pause(region.slot)
    """)
    with child(worker, path) as other:
        slot = int(other.hear())
        other.kill()
    region.recover(slot)
    counts, total, largest = Metrics(region).read(3)
    assert (counts.sum(), total, largest) == (1, 1000, 1000)
    assert Metrics(region).read_counter(7) == 5
    assert Table(region).get("notes", "key") == "value"


def test_one_of_many_recoverers_mends(path: Path, region: Region) -> None:
    with child(program("pause(region.slot)"), path) as other:
        slot = int(other.hear())
        other.kill()
    many = [Region.attach(path) for _ in range(3)]
    assert slot not in [each.slot for each in many]  # not given away before it is mended
    assert sum(each.recover(slot) is not None for each in many) == 1
    for each in many:
        each.close()


def test_forked_child_cannot_use_or_hurt_its_parents_region(path: Path, region: Region) -> None:
    forker = program("""
    from ultrafast import errors
    receiver = Receiver(queues, queues.open("inbox"))
    receiver.fileno()
    queues.send(receiver.index, 0, b"first")
    queues.send(receiver.index, 0, b"second")
    first, second = receiver.take()
    view = second.payload
    pid = os.fork()
    if pid == 0:
        for call in (
            lambda: region.owners(),
            lambda: queues.send(0, 0, b""),
            lambda: receiver.take(),
            lambda: first.tobytes(),
            lambda: Table(region).get("a", "b"),
        ):
            try:
                call()
            except errors.ForkedRegion as error:
                print("attach anew" in str(error))
        print(bytes(view))  # an old view still reads
        first.release()
        view.release()
        second.release()
        region.close()
        with Region.attach(sys.argv[1]) as own:
            print(own.slot)
        del first, second, receiver, queues, region
        print("child ends", flush=True)
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    print(region.alive(region.slot), first.tobytes(), bytes(view))
    print(len(receiver.take()))
    """)
    with child(forker, path) as other:
        lines = other.end().split("\n")
    assert lines == [*["True"] * 5, "b'second'", "2", "child ends", "True b'first' b'second'", "0"]
    assert [each.slot for each in region.owners()] == [0]


def test_a_forked_child_does_not_keep_its_dead_parent_alive(path: Path, region: Region) -> None:
    """The lock belongs to the parent's open file, which the child let go of."""
    forker = program("""
    pid = os.fork()
    if pid == 0:
        sys.stdin.readline()
        os._exit(0)
    print(region.slot, flush=True)
    os.kill(os.getpid(), 9)
    """)
    with child(forker, path) as other:
        slot = int(other.hear())
        other.process.wait(30)
        # The child lets go when it first runs, which may be after its parent's end.
        while region.alive(slot):
            time.sleep(0.01)
        assert region.recover(slot) is not None
        assert other.process.stdin is not None
        other.process.stdin.close()  # the grandchild ends


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("state", ["idle", "held", "viewed", "armed", "in a cycle", "in a thread"])
def test_interpreter_exits_quietly(path: Path, region: Region, state: str, closes: bool) -> None:
    """With everything still open, in any state; and the slot is left in good order."""
    text = {
        "idle": "",
        "held": "kept = receiver.take()",
        "viewed": "kept = [m.payload for m in receiver.take()]",
        "armed": "receiver.take(); receiver.arm_pipe()",
        "in a cycle": "kept = receiver.take(); kept.append(kept)",
        "in a thread": "from threading import Thread; "
        "Thread(target=receiver.wait, args=(9,), daemon=True).start()",
    }[state]
    queues = Queues(region)
    index = queues.open("inbox")
    if state != "in a thread":
        queues.send(index, 0, b"x")
    code = program(f"""
    table, agents, metrics = Table(region), Agents(region), Metrics(region)
    receiver = Receiver(queues, queues.open("inbox"))
    {text}
    if {closes}:
        try:
            region.close()
        except BufferError:
            pass
    """)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for slot in range(1, region.slots):
        region.recover(slot)
    assert [each.slot for each in region.owners()] == [0]
