"""Bodies by single calls: order, refusals, what a death or a close gives back, damaged heads."""

import gc
import os
import random
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from doors.plain import (
    DELIVERED,
    KIND,
    RAW,
    REDELIVERED,
    REFUSED,
    SENT,
    Sender,
    Taker,
    plain_child,
)
from doors.small import SMALL, Child, eventually
from ultrafast import errors
from ultrafast.core import Metrics, Queues, Receiver, Region
from ultrafast.core._queue import ONCE
from ultrafast.core._status import OK

SIZES = msgspec.structs.replace(SMALL, message_blocks=((128, 128), (1024, 64)))


@pytest.fixture
def region(path: Path) -> Any:
    with Region.create(path, SIZES) as region:
        yield region


@contextmanager
def started(program: str, path: Path, *arguments: object) -> Iterator[Child]:
    process = plain_child(program, path, *arguments)
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.process.stdin, process.process.stdout, process.process.stderr):
            assert stream is not None
            stream.close()


def accounts(region: Region) -> tuple[int, int, int, int]:
    read = Metrics(region).read_counter
    return read(SENT), read(REFUSED), read(DELIVERED), read(REDELIVERED)


def in_pool(region: Region) -> int:
    """Blocks that nobody has; this process's own cached ones are not among them."""
    return sum(each.free for each in Queues(region).blocks())


def test_a_deque_of_bodies_one_by_one_and_in_batches(region: Region) -> None:
    rng = random.Random(11)
    sender, taker = Sender(region), Taker(region, max_batch=3)
    model: deque[bytes] = deque()
    put = got = refused = 0
    for _ in range(3000):
        if rng.random() < 0.5:
            bodies = [
                rng.randbytes(rng.choice((0, 1, 64, 65, 900))) for _ in range(rng.randint(1, 5))
            ]
            if len(bodies) == 1:
                done = int(sender.put_nowait(bodies[0]))
            else:
                done = sender.put_many_nowait(bodies if rng.random() < 0.5 else tuple(bodies))
            model.extend(bodies[:done])
            put, refused = put + len(bodies), refused + len(bodies) - done
        elif rng.random() < 0.5:
            body = taker.get_nowait()
            assert body == (model.popleft() if model else None)
            got += body is not None
        else:
            many = taker.get_many_nowait(rng.choice((None, 1, 7)))
            assert many == [model.popleft() for _ in range(len(many))]
            assert bool(many) or not model
            got += len(many)
    taker.done()
    assert refused > 0
    assert got > 500
    assert accounts(region) == (put, refused, got, 0)
    assert taker.unusual == []


def test_a_batch_longer_than_what_goes_at_once(path: Path) -> None:
    sizes = msgspec.structs.replace(SMALL, queue_capacity=1024, message_blocks=((128, 2048),))
    with Region.create(path, sizes) as region:
        sender, taker = Sender(region), Taker(region, max_batch=1024)
        bodies = [b"%d" % n for n in range(1500)]
        assert sender.put_many_nowait(bodies) == 1024
        assert taker.get_many_nowait(600) == bodies[:600]
        assert sender.put_many_nowait(bodies[1024:]) == 476
        assert taker.get_many_nowait() == bodies[600:]


def test_refusals_leave_nothing_behind(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    capacity = Queues(region).capacity
    assert sender.put_many_nowait([b"x"] * (capacity + 3)) == capacity
    assert sender.put_nowait(b"y") is False
    assert sender.put_blocking(b"y", 0) is False
    assert sender.put_blocking(b"y", 0.01) is False
    assert sender.put_many_blocking([b"y"] * 2, 0.01) == 0
    before = accounts(region)
    for call in (sender.put_nowait, sender.put_blocking):
        with pytest.raises(errors.MessageTooBig, match=r"961 bytes.*room for 960"):
            call(bytes(961))
    with pytest.raises(errors.InvalidArgument, match="a timeout of nan"):
        sender.put_blocking(b"y", float("nan"))
    assert accounts(region) == before
    assert sum(len(taker.get_many_nowait()) for _ in range(capacity)) == capacity
    # Not bytes, and no encoder of ours for many: what the subclass raises comes through.
    with pytest.raises(AttributeError):
        sender.put_many_nowait([b"fits", bytes(961)])
    with pytest.raises(AttributeError):
        sender.put_nowait(None)
    assert taker.get_nowait() is None
    assert sender.put_many_nowait([]) == 0


def test_what_is_not_plain_takes_the_long_way(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    assert sender.put_nowait("text")
    assert sender.put_nowait("later", ttl_s=7, sender=5)
    assert sender.put_nowait("urgent", priority=0)
    assert sender.put_nowait(b"bytes")
    assert Queues(region).send(sender.index, 3, b"other kind", 1, RAW) == OK
    assert Queues(region).send(sender.index, 3, b"once", KIND, RAW, flags=ONCE) == OK
    assert taker.get_many_nowait(3) == ["urgent", "text", "later"]
    infos = taker.infos()
    assert [each.priority for each in infos] == [0, 2, 2]
    assert [each.sender for each in infos] == [0, 0, 5]
    assert [each.id for each in infos] == [3, 1, 2]
    assert taker.get_nowait() == b"bytes"
    assert [each.id for each in taker.infos()] == [4]
    taker.skipped = b"other kind"
    assert taker.get_nowait("nothing") == "once"
    taker.done()
    assert taker.infos() == []
    assert taker.get_nowait("nothing") == "nothing"
    assert accounts(region) == (4, 0, 5, 0)  # the doors' own two were not counted as sent


def test_a_body_that_can_not_be_made_goes_back(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    for body in ("one", "two", "three"):
        assert sender.put_nowait(body)
    taker.broken = b"two"
    assert taker.get_nowait() == "one"
    with pytest.raises(LookupError, match="two"):
        taker.get_nowait()
    taker.broken = b"-"
    assert taker.get_many_nowait() == ["three"]
    assert taker.get_nowait() == "two"
    taker.done()
    assert accounts(region) == (3, 0, 3, 0)


def test_a_damaged_head_is_an_error_and_loses_nothing_else(region: Region, path: Path) -> None:
    sender, taker = Sender(region), Taker(region)
    free = in_pool(region)
    assert sender.put_many_nowait([b"before", b"damaged-here", b"after"]) == 3
    data = path.read_bytes()
    at = data.index(b"damaged-here") - 64 + 16  # payload_bytes, in the head before it
    assert struct.unpack_from("<I", data, at) == (12,)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<I", 0xFFFF_FFF0))
    assert taker.get_nowait() == b"before"
    with pytest.raises(errors.RegionCorrupt, match="claims 4294967280 bytes"):
        taker.get_nowait()
    assert taker.get_nowait() == b"after"
    taker.done()
    assert taker.get_nowait() is None
    region.close()
    with Region.attach(path) as again:
        assert in_pool(again) == free


def test_random_damage_gives_an_error_or_a_body(region: Region, path: Path) -> None:
    """Whatever stands in a head, the doors answer, raise one typed error, and go on."""
    rng = random.Random(7)
    sender, taker = Sender(region), Taker(region)
    answers = 0
    for number in range(300):
        assert sender.put_nowait(b"mark %05d" % number)
        at = path.read_bytes().index(b"mark %05d" % number) - 64
        with path.open("r+b") as file:
            file.seek(at + rng.randrange(16, 61))  # the owner word and the position are the core's
            file.write(rng.randbytes(4))
        try:
            body = taker.get_nowait(default=0)
            answers += body != 0
        except errors.RegionCorrupt:
            continue
        taker.done()
    assert answers > 100
    assert sender.put_nowait(b"last")
    bodies = []
    while (body := taker.get_nowait(default=0)) != 0:
        bodies.append(body)
    assert bodies[-1] == b"last"


TAKE = """
taker = Taker(region, max_batch=int(sys.argv[2]))
print(region.slot, [taker.get(60) for _ in range(int(sys.argv[3]))], flush=True)
if sys.argv[4] == "done":
    taker.done()
    print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("batch", "taken", "done", "again"),
    [
        (1, 1, "held", [b"0"]),
        (4, 2, "held", [b"1", b"2", b"3"]),
        (4, 2, "done", [b"2", b"3"]),
        (4, 4, "done", []),
    ],
)
def test_a_kill_between_take_and_done_redelivers(
    region: Region, path: Path, batch: int, taken: int, done: str, again: list[bytes]
) -> None:
    sender = Sender(region)
    assert sender.put_many_nowait([b"%d" % n for n in range(6)]) == 6
    taker = Taker(region, max_batch=8)
    with started(TAKE, path, batch, taken, done) as process:
        slot, _, bodies = process.hear().partition(" ")
        assert bodies == str([b"%d" % n for n in range(taken)])
        if done == "done":
            assert process.hear() == "done"
        process.kill()
    recovery = region.recover(int(slot))
    assert recovery is not None
    assert recovery.orphaned == len(again)
    got = taker.get_many_nowait(len(again)) if again else []
    assert got == [body.decode() for body in again]  # the long way: an attempt was made before
    assert taker.redelivered is bool(again)
    assert [each.attempt for each in taker.infos()] == [1] * len(again)
    rest = taker.get_many_nowait()
    assert [int(body) for body in [*got, *rest]][-len(rest) :] == sorted(int(body) for body in rest)
    assert not taker.redelivered
    taker.done()
    assert accounts(region)[3] == len(again)


def test_close_and_the_end_of_the_object_put_back(region: Region) -> None:
    sender = Sender(region)
    assert sender.put_many_nowait([b"%d" % n for n in range(6)]) == 6
    taker = Taker(region, max_batch=4)
    assert taker.get_nowait() == b"0"
    assert taker._leave() == []
    for call in (taker.get_nowait, taker.get_many_nowait, taker.infos):
        with pytest.raises(errors.RegionClosed, match="was closed"):
            call()
    assert taker._leave() == []
    other = Taker(region, max_batch=2)
    assert other.get_nowait() == b"4"
    del other
    gc.collect()
    third = Taker(region, max_batch=8)
    assert third.get_many_nowait() == [b"0", b"1", b"2", b"3", b"4", b"5"]
    third.done()
    assert accounts(region)[2] == 6


def test_what_finds_no_room_on_close_is_handed_over(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    capacity = Queues(region).capacity
    assert sender.put_many_nowait([b"held", b"ahead"]) == 2
    assert taker.get_nowait() == b"held"
    assert sender.put_many_nowait([b"x"] * capacity) == capacity
    left = taker._leave()
    assert [message.tobytes() for message in left] == [b"held", b"ahead"]
    for message in left:
        message.release()


def test_a_closed_region_says_so(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    assert sender.put_many_nowait([b"1", b"2"]) == 2
    assert taker.get_nowait() == b"1"
    region.close()
    for call in (
        lambda: sender.put_nowait(b""),
        lambda: sender.put_blocking(b""),
        lambda: sender.put_many_nowait([b""]),
        lambda: sender.put_many_blocking([b""]),
        taker.get,
        taker.get_nowait,
        taker.get_many,
        taker.get_many_nowait,
        taker.done,
    ):
        with pytest.raises(errors.RegionClosed):
            call()
    assert taker._leave() == []


def test_a_forked_child_has_no_part_in_it(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    assert sender.put_many_nowait([b"1", b"2", b"3"]) == 3
    assert taker.get_nowait() == b"1"
    pid = os.fork()
    if pid == 0:
        good = 0
        for call in (taker.get_nowait, taker.done, lambda: sender.put_nowait(b"")):
            try:
                call()
            except errors.ForkedRegion:
                good += 1
        taker._leave()
        del taker
        os._exit(good)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert taker.get_many_nowait() == [b"2", b"3"]


@pytest.mark.parametrize("spin_us", [0, 200])
def test_waiting_for_a_body_and_for_room(region: Region, spin_us: float) -> None:
    sender, taker = Sender(region, spin_us), Taker(region, 4, spin_us)
    with pytest.raises(errors.Timeout, match=r"'plain': nothing came within 0\.01 s"):
        taker.get(0.01)
    assert taker.get_many(timeout_s=0.01) == []
    count = 500
    got: list[bytes] = []

    def take() -> None:
        while len(got) < count:
            got.append(taker.get(60))
            if len(got) % 50 == 0:
                time.sleep(0.001)  # so that the sender comes to a full lane
            if len(got) % 7 == 0:
                got.extend(taker.get_many(2, 60) if len(got) < count else [])

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(0, count, 10):
        assert sender.put_blocking(b"%d" % number, 60)
        many = [b"%d" % n for n in range(number + 1, number + 10)]
        assert sender.put_many_blocking(many, 60) == 9
    eventually(lambda: len(got) == count)
    thread.join(60)
    assert got == [b"%d" % n for n in range(count)]


def test_loans_of_a_sender(region: Region) -> None:
    sender, taker = Sender(region), Taker(region)
    loan = sender.loan(900)
    loan.write(b"lent")
    assert sender.put_nowait(loan) and loan.gone
    again = sender.loan(900)
    again.write(b"also lent")
    assert sender.put_blocking(again, 1.0) and again.gone
    assert [body[:9].rstrip(b"\0") for body in taker.get_many()] == [b"lent", b"also lent"]
    assert accounts(region)[:2] == (2, 0)
    taker.done()
    with pytest.raises(errors.MessageTooBig, match="a loan of 2000 bytes"):
        sender.loan(2000)
    for wrong in (-1, 1 << 32, 1 << 80):
        with pytest.raises(errors.PoolExhausted):  # what the subclass says
            sender.loan(wrong, 60)
    with pytest.raises(TypeError):
        sender.loan("1")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("spin_us", [0, 200])
def test_waiting_for_a_block(region: Region, spin_us: float) -> None:
    sender, taker = Sender(region, spin_us), Taker(region, 4, spin_us)
    loans = [sender.loan(900) for _ in range(64)]
    for timeout_s in (0.0, 0.01):
        with pytest.raises(errors.PoolExhausted, match="none of 900"):
            sender.loan(900, timeout_s)
        assert not sender.put_blocking(b"x" * 900, timeout_s)
    waiting = threading.Event()

    def let_go() -> None:
        waiting.wait(60)
        time.sleep(0.005)
        loans.pop().release()

    for wait in (
        lambda: loans.append(sender.loan(900, 60)),
        lambda: sender.put_blocking(b"x" * 900, 60),
        lambda: sender.put_many_blocking([b"x" * 900], None),
    ):
        waiting.clear()
        thread = threading.Thread(target=let_go)
        thread.start()
        waiting.set()
        wait()
        thread.join(60)
    assert len(loans) == 62 and taker.get_many() == [b"x" * 900] * 2


def test_a_batch_of_large_bodies_ends_early(path: Path) -> None:
    sizes = msgspec.structs.replace(SIZES, message_blocks=((128, 128), (65600, 24)))
    with Region.create(path, sizes) as region:
        sender, taker = Sender(region), Taker(region, 16)
        bodies = [bytes([number]) * 65_536 for number in range(12)]
        assert sender.put_many_nowait(bodies) == 12
        first = taker.get_many()
        assert 1 <= len(first) < 12 and len(taker.infos()) == len(first)
        rest = taker.get_many()
        assert first + rest == bodies
        taker.done()
        assert accounts(region) == (12, 0, 12, 0)


def test_order_of_each_sender_over_processes(region: Region, path: Path) -> None:
    put = """
    sender = Sender(region, 50)
    who = int(sys.argv[2])
    for number in range(0, 3000, 30):
        assert sender.put_blocking(b"%d %d" % (who, number), 60)
        many = [b"%d %d" % (who, n) for n in range(number + 1, number + 30)]
        assert sender.put_many_blocking(many, 60) == 29
    print("put", flush=True)
    sys.stdin.readline()
    """
    taker = Taker(region, 16, 50)
    seen = [-1] * 3
    with started(put, path, 0), started(put, path, 1), started(put, path, 2):
        for turn in range(9000):
            if sum(seen) == 3 * 2999:
                break
            bodies = [taker.get(60)] if turn % 2 else taker.get_many(None, 60)
            for body in bodies:
                who, number = map(int, body.split())
                assert number == seen[who] + 1
                seen[who] = number
    assert seen == [2999] * 3


def test_signals_are_heard_while_a_thread_waits(region: Region, path: Path) -> None:
    wait = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sender, taker = Sender(region), Taker(region)
    try:
        print("getting", flush=True)
        taker.get()
    except KeyboardInterrupt:
        while sender.put_nowait(b"fill"):
            pass
    try:
        print("putting", flush=True)
        sender.put_blocking(b"more")
    except KeyboardInterrupt:
        print("ended", flush=True)
    region.close()
    """
    with started(wait, path) as process:
        assert process.hear() == "getting"
        time.sleep(0.1)  # a signal before the wait would do as well
        process.process.send_signal(signal.SIGINT)
        assert process.hear() == "putting"
        time.sleep(0.1)
        process.process.send_signal(signal.SIGINT)
        assert process.hear() == "ended"
        assert process.end() == ""


def test_arguments_that_are_none(region: Region) -> None:
    with pytest.raises(errors.InvalidArgument, match="max_batch is 0"):
        Taker(region, max_batch=0)
    with pytest.raises(errors.InvalidArgument, match="max_batch is 1025"):
        Taker(region, max_batch=1025)
    for spin_us in (-1, 1e7, float("nan")):
        with pytest.raises(errors.InvalidArgument, match="spin_us is"):
            Taker(region, spin_us=spin_us)
    assert Receiver(Queues(region), Queues(region).open("plain"), spin_us=100).wait(0) is False
