"""Queues against a deque for each lane: names, order, room, and what refusal leaves behind."""

import random
import tempfile
from collections import deque
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import Message, Queues, Receiver, Region
from ultrafast.core._queue import LANES, ONCE, REDELIVERED
from ultrafast.core._status import FULL, NO_BLOCK, OK

Item = tuple[bytes, int, int, int, int, int, int, int, int, int]

U64 = st.integers(0, 2**64 - 1)
ITEMS = st.tuples(
    st.binary(max_size=300),
    st.integers(0, 255),
    st.integers(0, 255),
    U64,
    U64,
    U64,
    U64,
    st.integers(0, 65535),
    st.sampled_from([0, ONCE]),
    st.integers(0, 2**32 - 1),
)


def contents(message: Message) -> Item:
    return (
        message.tobytes(),
        message.kind,
        message.codec,
        message.sender,
        message.receiver,
        message.correlation,
        message.sent_ns,
        message.reply_queue,
        message.flags,
        message.extra,
    )


class QueueMachine(RuleBasedStateMachine):
    """One queue; the model is a deque for each lane, FIFO whatever goes on in the others."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.lanes: list[deque[Item]] = [deque() for _ in range(LANES)]
        self.held: list[Message] = []

    @initialize(turns=st.integers(0, 40))
    def open(self, turns: int) -> None:
        # The pool outlasts the rings here, so that FULL means the lane.
        blocks = ((128, 128), (512, 128))
        sizes = msgspec.structs.replace(SMALL, message_blocks=blocks)
        self.region = Region.create(Path(self.folder.name, "ultrafast-q"), sizes)
        self.queues = Queues(self.region)
        self.index = self.queues.open("inbox")
        self.receiver = Receiver(self.queues, self.index)
        for _ in range(turns):  # begin somewhere in the lap
            for lane in range(LANES):
                assert self.queues.send(self.index, lane, b"") == OK
            for message in self.receiver.take():
                message.release()

    @rule(lane=st.integers(0, LANES - 1), item=ITEMS)
    def send(self, lane: int, item: Item) -> None:
        payload, kind, codec, sender, receiver, correlation, sent_ns, reply, flags, extra = item
        status = self.queues.send(
            self.index,
            lane,
            payload,
            kind,
            codec,
            sender,
            receiver,
            correlation,
            sent_ns,
            reply,
            flags,
            0,
            extra,
        )
        if len(self.lanes[lane]) == SMALL.queue_capacity:
            assert status == FULL
        else:
            assert status == OK
            self.lanes[lane].append(item)

    @rule(lane=st.integers(0, LANES - 1), items=st.lists(ITEMS, max_size=20))
    def send_batch(self, lane: int, items: list[Item]) -> None:
        room = SMALL.queue_capacity - len(self.lanes[lane])
        sent = self.queues.send_batch(self.index, lane, items)
        assert sent == min(room, len(items))
        self.lanes[lane].extend(items[:sent])

    @rule(count=st.integers(1, 40))
    def take(self, count: int) -> None:
        taken = self.receiver.take(count)
        assert len(taken) == min(count, sum(map(len, self.lanes)))
        for message in taken:
            assert contents(message) == self.lanes[message.lane].popleft()
            assert not message.redelivered and message.attempt == 0
            assert message.queue == self.index
        self.held.extend(taken)

    @precondition(lambda self: self.held)
    @rule(dice=st.randoms(use_true_random=False))
    def release(self, dice: random.Random) -> None:
        message = self.held.pop(dice.randrange(len(self.held)))
        message.release()
        message.release()
        assert message.released

    @rule()
    def drop(self) -> None:
        self.held.clear()

    @invariant()
    def lengths_agree(self) -> None:
        if hasattr(self, "queues"):
            for lane in range(LANES):
                assert self.queues.length(self.index, lane) == len(self.lanes[lane])
            assert self.queues.length(self.index) == sum(map(len, self.lanes))

    def teardown(self) -> None:
        self.held.clear()
        if hasattr(self, "region"):
            while taken := self.receiver.take():
                for message in taken:
                    message.release()
            self.region.close()
            with Region.attach(self.region.path) as after:  # every block is back in the pool
                for count in Queues(after).blocks():
                    assert count.free == count.blocks
        self.folder.cleanup()


TestQueue = QueueMachine.TestCase


def test_names(queues: Queues) -> None:
    assert queues.count == SMALL.queues and queues.capacity == SMALL.queue_capacity
    first = queues.open("first")
    assert queues.open("first") == first
    second = queues.open("zweite Schlange ü")
    assert (queues.find("first"), queues.find("zweite Schlange ü")) == (first, second)
    assert (queues.name(first), queues.name(second)) == ("first", "zweite Schlange ü")
    assert queues.find("third") is None and queues.name(3) is None and queues.name(99) is None
    assert queues.close(first) is True
    assert queues.close(first) is False
    assert queues.find("first") is None
    with pytest.raises(errors.InvalidArgument, match="queue 99 of 4"):
        queues.close(99)


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "a\0b"])
def test_names_that_are_none(queues: Queues, name: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="is no name"):
        queues.open(name)
    with pytest.raises(errors.InvalidArgument, match="is no name"):
        queues.find(name)


def test_all_queues_used(queues: Queues) -> None:
    for number in range(SMALL.queues):
        queues.open(f"queue {number}")
    with pytest.raises(errors.NoSlot, match="one of the 4 queues is in use"):
        queues.open("one more")
    queues.close(2)
    assert queues.open("one more") == 2


def test_no_such_queue_or_lane(queues: Queues, receiver: Receiver) -> None:
    for queue, lane in ((99, 0), (receiver.index, LANES)):
        with pytest.raises(errors.InvalidArgument):
            queues.send(queue, lane, b"x")
        with pytest.raises(errors.InvalidArgument):
            queues.send_batch(queue, lane, [(b"x", *[0] * 9)])
    with pytest.raises(errors.InvalidArgument):
        queues.length(99)
    with pytest.raises(errors.InvalidArgument):
        Receiver(queues, 99)
    with pytest.raises(errors.EntryMissing, match="not open"):
        Receiver(queues, 3)
    assert receiver.take() == []
    assert [each.free for each in queues.blocks()][1:] == [16, 8]  # given back


@pytest.mark.parametrize(
    "payload", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"abcabc")[3:], b"abc"]
)
def test_any_contiguous_bytes_are_a_payload(
    queues: Queues, receiver: Receiver, payload: memoryview
) -> None:
    assert queues.send(receiver.index, 0, payload) == OK
    assert receiver.take()[0].tobytes() == b"abc"


@pytest.mark.parametrize("payload", ["abc", 7, None, memoryview(b"abcdef")[::2]])
def test_other_things_are_not(queues: Queues, receiver: Receiver, payload: object) -> None:
    with pytest.raises((TypeError, BufferError)):
        queues.send(receiver.index, 0, payload)  # type: ignore[arg-type]  # what is tested
    assert receiver.take() == []


def test_head_fields_out_of_range_are_refused(queues: Queues, receiver: Receiver) -> None:
    with pytest.raises(OverflowError):
        queues.send(receiver.index, 0, b"", 256)
    with pytest.raises(OverflowError):
        queues.send(receiver.index, 0, b"", 0, 0, -1)
    assert receiver.take() == []


def test_too_big_says_both_numbers(queues: Queues, receiver: Receiver) -> None:
    room = 8192 - 64
    assert queues.send(receiver.index, 0, b"x" * room) == OK
    with pytest.raises(errors.MessageTooBig, match=f"{room + 1} bytes.*room for {room}") as caught:
        queues.send(receiver.index, 0, b"x" * (room + 1))
    assert isinstance(caught.value, ValueError)
    assert len(receiver.take()) == 1


def test_exhausted_pool_is_an_answer_and_ends(queues: Queues, receiver: Receiver) -> None:
    big = b"x" * 5000
    sent = 0
    while (status := queues.send(receiver.index, sent % 4, big)) == OK:
        sent += 1
    assert status == NO_BLOCK and sent == 8
    assert queues.send_batch(receiver.index, 0, [(big, *[0] * 9)]) == 0
    for message in receiver.take():
        message.release()
    assert queues.send(receiver.index, 0, big) == OK


def test_batch_stops_before_what_cannot_be_sent(queues: Queues, receiver: Receiver) -> None:
    good: Item = (b"good", 1, 0, 0, 0, 0, 0, 0, 0, 0)
    bad = (b"bad", 256, 0, 0, 0, 0, 0, 0, 0, 0)
    assert queues.send_batch(receiver.index, 0, [good, good, bad, good]) == 2
    with pytest.raises(OverflowError):
        queues.send_batch(receiver.index, 0, [bad, good])
    with pytest.raises(ValueError):
        queues.send_batch(receiver.index, 0, [(b"short",)])  # type: ignore[list-item]  # tested
    assert queues.send_batch(receiver.index, 0, []) == 0
    assert [each.kind for each in receiver.take()] == [1, 1]


def test_a_long_batch_goes_in_pieces(path: Path) -> None:
    sizes = msgspec.structs.replace(SMALL, queue_capacity=1024, message_blocks=((128, 2048),))
    with Region.create(path, sizes) as region:
        queues = Queues(region)
        receiver = Receiver(queues, queues.open("inbox"))
        items: list[Item] = [(b"%d" % n, 0, 0, n, 0, 0, 0, 0, 0, 0) for n in range(1500)]
        assert queues.send_batch(receiver.index, 2, items) == 1024
        seen = []
        while taken := receiver.take(700):
            seen += [each.sender for each in taken]
        assert seen == list(range(1024))


def test_low_lanes_get_their_share(path: Path) -> None:
    sizes = msgspec.structs.replace(SMALL, queue_capacity=256, message_blocks=((128, 2048),))
    with Region.create(path, sizes) as region:
        queues = Queues(region)
        receiver = Receiver(queues, queues.open("inbox"))
        for lane in range(LANES):
            assert queues.send_batch(receiver.index, lane, [(b"", *[0] * 9)] * 200) == 200
        lanes = [message.lane for message in receiver.take(128)]
        assert lanes[0] == 0 and lanes.count(0) > 64
        assert all(lanes.count(lane) >= 128 // 16 - 1 for lane in (1, 2, 3))


def test_echo_passes_only_its_own(queues: Queues, receiver: Receiver) -> None:
    assert queues.echo(receiver.index) is True
    assert receiver.take() == []
    queues.send(receiver.index, 0, b"somebody's")
    queues.echo(receiver.index)
    queues.echo(99)
    assert b"somebody's" in [each.tobytes() for each in receiver.take()]


def test_redelivered_is_a_flag(queues: Queues, receiver: Receiver) -> None:
    queues.send(receiver.index, 0, b"", 0, 0, 0, 0, 0, 0, 0, REDELIVERED, 3)
    (message,) = receiver.take()
    assert message.redelivered is True and message.attempt == 3
