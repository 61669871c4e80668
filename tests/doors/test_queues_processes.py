"""Queues over several processes against a deque for each lane: every edge, and deaths."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from doors.actor import Record
from doors.processes import PROCESSES, ProcessMachine, explore, refute
from ultrafast.core import Queues, Receiver
from ultrafast.core._queue import LANES, ONCE, REDELIVERED
from ultrafast.core._status import FULL, NO_BLOCK, OK

U64 = st.integers(0, 2**64 - 1)
RECORDS = st.tuples(
    st.binary(max_size=300),
    st.integers(0, 255),
    st.integers(0, 255),
    U64,
    U64,
    U64,
    U64,
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
)
FLAGS = st.sampled_from([0, ONCE])
ACTORS = st.integers(0, PROCESSES - 1)
LANE = st.integers(0, LANES - 1)


@dataclass
class Letter:
    """A message, as the model knows it."""

    record: Record
    flags: int
    attempt: int = 0
    lane: int = -1
    place: int = -1
    """Which one of its lane it was, from the first on."""


class QueueMachine(ProcessMachine):
    """One queue, three processes that send, take, keep, look, send on, die and adopt."""

    wanted = (
        "full",
        "empty",
        "no block",
        "part of a batch",
        "sent on",
        "released under a view",
        "freed with its reader",
        "adopted",
        "dropped with its taker",
        "deaths",
        "rung",
        "lap wrapped",
        "block wrapped",
        "bell wrapped",
        "opening wrapped",
        "incarnation wrapped",
    )

    def __init__(self) -> None:
        super().__init__()
        self.lanes: list[deque[Letter]] = [deque() for _ in range(LANES)]
        self.sent = [0] * LANES
        self.held: list[dict[int, Letter]] = [{} for _ in range(PROCESSES)]
        self.views: list[dict[int, Letter]] = [{} for _ in range(PROCESSES)]
        self.going: list[set[int]] = [set() for _ in range(PROCESSES)]
        self.handled: list[set[int]] = [set() for _ in range(PROCESSES)]
        self.orphans: list[Letter] = []
        self.hint = self.asleep = self.rung = False

    @initialize(
        before=st.integers(1, 6),
        capacity=st.sampled_from([4, 1, 2]),
        blocks=st.sampled_from([31, 31, 31, 4, 2, 1]),
    )
    def open(self, before: int, capacity: int, blocks: int) -> None:
        # With fewer than 32 blocks no process keeps any to itself: "exhausted" is exact.
        self.begin(before, queues=1, queue_capacity=capacity, message_blocks=((384, blocks),))
        self.capacity, self.blocks = capacity, blocks
        self.mine = Queues(self.region)
        self.queue = self.mine.open("inbox")
        self.pipe = Receiver(self.mine, self.queue)
        self.pipe.fileno()  # kept open here, or a ring would go with the last who has it open

    def free_blocks(self) -> int:
        used = sum(map(len, [*self.lanes, *self.held, self.orphans, *self.going]))
        return self.blocks - used

    def enqueue(self, lane: int, letter: Letter) -> None:
        letter.lane, letter.place = lane, self.sent[lane]
        self.sent[lane] += 1
        self.lanes[lane].append(letter)
        self.ring()

    def ring(self) -> None:
        self.rung, self.asleep = self.rung or self.asleep, False

    def oldest(self, lane: int) -> Letter:
        return self.lanes[lane].popleft()

    def room(self, lane: int) -> int:
        return self.capacity - len(self.lanes[lane])

    @rule(actor=ACTORS, lane=LANE, record=RECORDS, flags=FLAGS)
    def send(self, actor: int, lane: int, record: Record, flags: int) -> None:
        status = self.do(actor, "send", self.queue, lane, record, flags)
        if self.free_blocks() == 0:
            assert status == NO_BLOCK
            self.note("no block")
        elif self.room(lane) == 0:
            assert status == FULL
            self.note("full")
        else:
            assert status == OK
            self.enqueue(lane, Letter(record, flags))

    @rule(actor=ACTORS, lane=LANE, record=RECORDS, flags=FLAGS)
    def fill(self, actor: int, lane: int, record: Record, flags: int) -> None:
        """Send until it is refused, and once more."""
        for _ in range(min(self.free_blocks(), self.room(lane)) + 1):
            self.send(actor, lane, record, flags)

    @rule(actor=ACTORS, lane=LANE, records=st.lists(st.tuples(RECORDS, FLAGS), max_size=6))
    def send_batch(self, actor: int, lane: int, records: list[tuple[Record, int]]) -> None:
        room = min(self.free_blocks(), self.room(lane))
        sent = self.do(actor, "send_batch", self.queue, lane, records)
        assert sent == min(room, len(records))
        for record, flags in records[:sent]:
            self.enqueue(lane, Letter(record, flags))
        if 0 < sent < len(records):
            self.note("part of a batch")

    def keep(self, actor: int, handle: int, seen: tuple[Any, ...], letter: Letter) -> None:
        lane, flags, attempt, record = seen
        assert record == letter.record
        assert (lane, flags, attempt) == (letter.lane, letter.flags, letter.attempt)
        self.held[actor][handle] = letter

    @rule(actor=ACTORS, count=st.integers(1, 20))
    def take(self, actor: int, count: int) -> None:
        taken = self.do(actor, "take", self.queue, count)
        assert len(taken) == min(count, sum(map(len, self.lanes)))
        for handle, lane, *rest in taken:
            self.keep(actor, handle, (lane, *rest), self.oldest(lane))
        if not taken:
            self.note("empty")

    def pick(self, data: st.DataObject, among: list[dict[int, Letter]]) -> tuple[int, int]:
        choices = [(actor, handle) for actor in range(PROCESSES) for handle in among[actor]]
        return data.draw(st.sampled_from(sorted(choices)))

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), twice=st.booleans())
    def release(self, data: st.DataObject, twice: bool) -> None:
        actor, handle = self.pick(data, self.held)
        assert self.do(actor, "release", handle, twice) is True
        del self.held[actor][handle]
        if handle in self.views[actor]:
            self.going[actor].add(handle)
            self.handled[actor].add(handle)
            self.note("released under a view")

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def view(self, data: st.DataObject) -> None:
        actor, handle = self.pick(data, self.held)
        if handle not in self.views[actor]:
            letter = self.held[actor][handle]
            assert self.do(actor, "view", handle) == letter.record[0]
            self.views[actor][handle] = letter

    @precondition(lambda self: any(self.views))
    @rule(data=st.data())
    def unview(self, data: st.DataObject) -> None:
        actor, handle = self.pick(data, self.views)
        assert self.do(actor, "unview", handle) == self.views[actor].pop(handle).record[0]
        self.going[actor].discard(handle)
        self.handled[actor].discard(handle)

    @precondition(lambda self: sum(map(len, self.held)) > 4)
    @rule(actor=ACTORS)
    def drop(self, actor: int) -> None:
        """Forgotten, those that nobody looks at are given back."""
        self.do(actor, "drop")
        self.going[actor] |= self.held[actor].keys() & self.views[actor].keys()
        self.held[actor].clear()

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), lane=LANE)
    def forward(self, data: st.DataObject, lane: int) -> None:
        actor, handle = self.pick(data, self.held)
        if handle in self.views[actor]:
            with pytest.raises(BufferError):
                self.do(actor, "forward", handle, self.queue, lane)
            return
        status = self.do(actor, "forward", handle, self.queue, lane)
        assert status == (FULL if self.room(lane) == 0 else OK)
        if status == OK:
            self.enqueue(lane, self.held[actor].pop(handle))
            self.note("sent on")

    @precondition(lambda self: self.may_die() and any(self.held))
    @rule(data=st.data(), other=st.integers(1, PROCESSES - 1))
    def kill(self, data: st.DataObject, other: int) -> None:
        holders = [actor for actor in range(PROCESSES) if self.held[actor]]
        victim = data.draw(st.sampled_from([*holders, *range(PROCESSES)]))
        mended = self.die(victim, (victim + other) % PROCESSES)
        # What was released under a view was handled, and is not delivered again; what was only
        # forgotten under one is still the dead one's: nobody saw its handling end.
        handled = self.handled[victim]
        views = [self.views[victim][handle] for handle in self.going[victim] - handled]
        left = [*self.held[victim].values(), *views]
        again = [letter for letter in left if not letter.flags & ONCE]
        for letter in again:
            letter.flags |= REDELIVERED
            letter.attempt += 1
        if len(left) > len(again):
            self.note("dropped with its taker")
        assert (mended.orphaned, mended.dropped) == (len(again), len(left) - len(again))
        assert (mended.unclaimed, mended.freed_messages) == (0, len(handled))
        if handled:
            self.note("freed with its reader")
        self.orphans += again
        self.hint = self.hint or bool(self.orphans)
        self.held[victim], self.views[victim], self.going[victim] = {}, {}, set()
        self.handled[victim] = set()
        self.ring()

    @precondition(lambda self: self.hint or self.calm % 4 == 0)
    @rule(actor=ACTORS, count=st.integers(1, 8))
    def adopt(self, actor: int, count: int) -> None:
        self.orphans.sort(key=lambda letter: (letter.lane, letter.place))
        expected = self.orphans[:count] if self.hint else []
        adopted = self.do(actor, "adopt", self.queue, count)
        assert len(adopted) == len(expected)
        for (handle, *seen), letter in zip(adopted, expected, strict=True):
            self.keep(actor, handle, tuple(seen), letter)
            self.note("adopted")
        self.orphans = self.orphans[len(expected) :]
        self.hint = self.hint and len(expected) == count  # perhaps there are more

    @rule(actor=ACTORS)
    def arm(self, actor: int) -> None:
        nothing = not self.hint and not any(self.lanes)
        assert self.do(actor, "arm", self.queue) is nothing
        self.asleep = nothing

    @rule(actor=ACTORS)
    def look_for_messages(self, actor: int) -> None:
        something = self.hint or any(self.lanes)
        assert self.do(actor, "wait", self.queue, 0.0) is bool(something)
        assert self.do(actor, "has_orphans", self.queue) is self.hint
        self.asleep = False

    @rule(actor=ACTORS)
    def look_at_the_pipe(self, actor: int) -> None:
        assert self.do(actor, "rings", self.queue) is self.rung
        if self.rung:
            self.note("rung")
        self.rung = False

    @invariant()
    def numbers_agree(self) -> None:
        if hasattr(self, "mine"):
            for lane in range(LANES):
                assert self.mine.length(self.queue, lane) == len(self.lanes[lane])
            assert [each.free for each in self.mine.blocks()] == [self.free_blocks()]

    def finish(self) -> None:
        """Everything given back, every block is free."""
        for actor in range(PROCESSES):
            for handle in list(self.views[actor]):
                self.do(actor, "unview", handle)
            self.do(actor, "drop")
        self.do(0, "adopt", self.queue, 100)
        self.do(0, "take", self.queue, 100)
        self.do(0, "drop")
        assert [each.free for each in self.mine.blocks()] == [self.blocks]
        for actor in self.actors:
            actor.end()


class LastInFirstOut(QueueMachine):
    """A model that is wrong."""

    def oldest(self, lane: int) -> Letter:
        return self.lanes[lane].pop()


class OneRoomMore(QueueMachine):
    """Another: it thinks that a lane holds one message more."""

    def room(self, lane: int) -> int:
        return super().room(lane) + 1


def test_queues_of_several_processes_are_deques() -> None:
    explore(QueueMachine, examples=40)


@pytest.mark.parametrize("wrong", [LastInFirstOut, OneRoomMore])
def test_a_wrong_model_of_queues_is_refuted(wrong: type[QueueMachine]) -> None:
    refute(wrong)
