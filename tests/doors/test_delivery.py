"""Sending to agents and handing them what comes: what is accepted, counted, given back."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import (
    Agents,
    Handover,
    Incoming,
    Message,
    Metrics,
    Outlet,
    Queues,
    Receiver,
    Region,
    Seat,
    Sender,
)
from ultrafast.core._agents import ACTIVE, DRAINING, NO_LIMIT, STARTING
from ultrafast.core._bodies import Bodies
from ultrafast.core._correlations import Correlations
from ultrafast.core._queue import REDELIVERED, TRACE_BYTES, TRACED
from ultrafast.core._status import OK

DATA, OTHER_KIND = 0, 4
PLAIN, RAW = 0, 1
SENT, REFUSED, DELIVERED, HANDLED = 0, 1, 2, 3
NEAR, FAR = 0, 1
FOREVER = 1 << 62


class Agent:
    """Does what it is told and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.do: Callable[[Any], Any] = lambda message: None

    def on_message(self, message: Any) -> Any:
        self.seen.append(message.body)
        return self.do(message)


class House:
    """An inbox, two agents and everything that happened."""

    def __init__(self, region: Region) -> None:
        self.queues = Queues(region)
        self.agents = Agents(region)
        self.metrics = Metrics(region)
        self.receiver = Receiver(self.queues, self.queues.open("inbox"))
        self.sender = self.make_sender()
        self.log: list[tuple[Any, ...]] = []
        self.seats: dict[int, Seat] = {}
        self.handover = Handover(
            self.agents, self.metrics, self.other, (DELIVERED, HANDLED), (NEAR, FAR)
        )
        self.handover.seat(self.seats, Incoming, DATA, RAW, self.decode, self.ended, self.raised)
        self.first, self.second = self.agent(), self.agent()

    def make_sender(self, trace: bytes | None = None) -> Sender:
        def encode(body: Any) -> tuple[bytes, int]:
            if not isinstance(body, str):
                raise errors.EncodeError(f"{body!r}")
            return body.encode(), PLAIN

        def lane_of(priority: Any) -> int:
            raise ValueError(priority)

        self.numbers = Correlations(self.queues.region.slot << 54)
        return Sender(
            self.queues, self.agents, self.metrics, self.numbers, DATA, RAW, Bodies(encode),
            {"normal": 1, "low": 3}, lane_of, lambda: trace, (SENT, REFUSED),
        )  # fmt: skip

    def agent(self, worker: int | None = None, limit: int = NO_LIMIT) -> int:
        where = self.receiver.index if worker is None else worker
        id = self.agents.new(self.agents.type("t"), where, 2, STARTING, limit, 0, 1)
        self.agents.move(id, STARTING, ACTIVE)
        self.seats[id] = Seat(Agent(), id)
        return id

    def decode(self, payload: memoryview, codec: int) -> Any:
        return bytes(payload).decode() + f"/{codec}"

    def other(self, message: Message) -> None:
        self.log.append(("other", message.tobytes()))
        message.release()

    def ended(self, seat: Seat, message: Message, outcome: Any) -> None:
        self.log.append(("ended", seat.id, outcome))
        message.release()

    def raised(self, seat: Seat, message: Message, error: BaseException) -> None:
        self.log.append(("raised", seat.id, str(error)))
        message.release()
        if not isinstance(error, Exception):
            raise error

    def hand_out(self, until_ns: int = FOREVER) -> bool:
        if not self.handover.waiting:
            self.handover.load(self.receiver.take(64))
        return self.handover.hand_out(until_ns)

    def counted(self) -> tuple[int, ...]:
        return tuple(map(self.metrics.read_counter, (SENT, REFUSED, DELIVERED, HANDLED)))

    def free_blocks(self) -> int:
        return sum(each.free for each in self.queues.blocks())

    def seen(self, id: int) -> list[Any]:
        found: list[Any] = self.seats[id].agent.seen
        return found


@pytest.fixture
def house(region: Region) -> House:
    return House(region)


def test_a_message_reaches_its_agent_and_is_counted_once(house: House) -> None:
    kept: list[tuple[Any, ...]] = []

    def note(m: Any) -> None:
        kept.append(
            (m.sender, m.receiver, m.id, m.priority, m.sent_ns, m.redelivered, m.wants_answer)
        )

    house.seats[house.first].agent.do = note
    number = house.numbers.next()
    assert house.sender.send(77, house.first, b"bytes", "low", 5)
    assert house.sender.send(0, house.first, "text", "low")
    assert house.hand_out() and not house.handover.waiting and not house.log
    assert house.seen(house.first) == [b"bytes", "text/0"]
    assert kept[0] == (77, house.first, number + 1, 3, 5, False, False)
    assert kept[1][:3] == (0, house.first, number + 2) and kept[1][4] > 5
    assert house.counted() == (2, 0, 2, 2)
    info = house.agents.look(house.first)
    assert info is not None and (info.handled, info.failed) == (2, 0) and info.touched_ns > 0
    near, far = (house.metrics.read(which)[0].sum() for which in (NEAR, FAR))
    assert (near, far) == (2, 0)


def test_blocks_are_given_back_when_handlers_return(house: House) -> None:
    for n in range(200):  # more than there are blocks
        assert house.sender.send(0, house.first, b"%d" % n, "low")
        assert house.hand_out()
    assert house.seen(house.first) == [b"%d" % n for n in range(200)]


def test_a_latency_from_another_process_is_recorded_as_one(house: House) -> None:
    away = (house.queues.region.slot + 1) << 54
    house.queues.send(house.receiver.index, 0, b"", DATA, RAW, 0, house.first, away, 1)
    house.queues.send(house.receiver.index, 0, b"", DATA, RAW, 0, house.first, away, 1 << 63)
    assert house.hand_out()
    counts, _, largest = house.metrics.read(FAR)
    assert counts.sum() == 2 and counts[0] == 1 and largest > 1_000_000  # sent in the future: 0


@pytest.mark.parametrize(
    "head",
    [
        {"kind": OTHER_KIND},
        {"extra": 1},
        {"flags": REDELIVERED},
        {"flags": 0x8000},
        {"receiver": 12345},
        {"busy": 1},
    ],
)
def test_what_is_not_plain_is_given_on_in_its_place(house: House, head: dict[str, int]) -> None:
    head = dict(head)
    house.seats[house.second].busy = bool(head.pop("busy", 0))
    queue, message = house.receiver.index, {"receiver": house.second, "codec": RAW, **head}
    house.seats[house.first].agent.do = lambda m: house.log.append(("first", m.body))
    house.sender.send(0, house.first, b"1", "low")
    house.queues.send(queue, 3, b"2", **message)
    house.sender.send(0, house.first, b"3", "low")
    assert house.hand_out()
    assert house.log == [("first", b"1"), ("other", b"2"), ("first", b"3")]
    assert house.seen(house.second) == [] and house.counted()[2:] == (2, 2)


def test_a_handlers_error_is_told_and_the_next_message_handed_out(house: House) -> None:
    def fail(message: Any) -> None:
        raise LookupError(message.body)

    house.seats[house.first].agent.do = fail
    house.sender.send(0, house.first, b"bad", "low")
    house.sender.send(0, house.second, b"good", "low")
    assert house.hand_out()
    assert house.log == [("raised", house.first, "b'bad'")]
    assert house.seen(house.second) == [b"good"] and house.counted()[2:] == (1, 1)


def test_an_error_that_ends_the_process_leaves_the_rest_of_the_batch(house: House) -> None:
    def leave(message: Any) -> None:
        raise SystemExit("enough")

    house.seats[house.first].agent.do = leave
    for receiver in (house.first, house.second, house.second):
        house.sender.send(0, receiver, b"", "low")
    with pytest.raises(SystemExit):
        house.hand_out()
    assert house.handover.waiting == 2
    assert house.hand_out() and len(house.seen(house.second)) == 2


async def _coroutine() -> None:
    """Never run."""


def test_an_outcome_that_may_be_awaited_or_is_asked_for_is_given_on(house: House) -> None:
    coroutine = _coroutine()
    outcomes = iter([coroutine, {"a": 1}, 3, object, None])
    house.seats[house.first].agent.do = lambda message: next(outcomes)
    for reply_queue in (0, 0, 1, 0, 1):
        house.queues.send(
            house.receiver.index, 0, b"", receiver=house.first, reply_queue=reply_queue
        )
    assert house.hand_out()
    assert [entry[2] for entry in house.log] == [coroutine, 3, object, None]
    assert house.counted()[2:] == (1, 1)  # the dict, which nobody waits for
    coroutine.close()


def test_when_the_time_has_come_one_message_is_handed_out_and_the_others_kept(
    house: House,
) -> None:
    for n in range(4):
        house.sender.send(0, house.first, b"%d" % n, "low")
    for done in range(1, 4):
        assert not house.hand_out(until_ns=0)
        assert (len(house.seen(house.first)), house.handover.waiting) == (done, 4 - done)
    house.sender.send(0, house.first, b"4", "low")
    house.handover.load(house.receiver.take(1))
    assert house.hand_out() and house.seen(house.first) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_is_taken_back_was_not_handed_out(house: House) -> None:
    for n in range(3):
        house.sender.send(0, house.first, b"%d" % n, "low")
    assert not house.hand_out(until_ns=0)
    assert [message.tobytes() for message in house.handover.take_back()] == [b"1", b"2"]
    assert house.handover.waiting == 0 and house.seen(house.first) == [b"0"]


def test_a_body_is_read_while_the_handler_runs_or_never(house: House) -> None:
    kept: list[Any] = []

    class Keeper:
        def on_message(self, message: Any) -> None:
            kept.append(message)
            if len(kept) == 1:
                assert message.body is message.body

    id = house.agents.new(0, house.receiver.index, 2, STARTING, NO_LIMIT, 0, 1)
    house.seats[id] = Seat(Keeper(), id)
    for body in (b"read", b"unread"):
        house.sender.send(0, id, body, "low")
    assert house.hand_out()
    assert kept[0].body == b"read" and kept[1].receiver == id
    with pytest.raises(errors.InvalidArgument, match="released"):
        _ = kept[1].body


def test_a_handler_that_closes_the_region_stops_the_batch(house: House) -> None:
    house.seats[house.first].agent.do = lambda message: house.queues.region.close()
    house.sender.send(0, house.first, b"", "low")
    house.sender.send(0, house.first, b"", "low")
    with pytest.raises(errors.RegionClosed):
        house.hand_out()
    with pytest.raises(errors.RegionClosed):
        house.hand_out()
    assert len(house.seen(house.first)) == 1


def test_seats_and_incoming_messages_are_checked(house: House) -> None:
    with pytest.raises(TypeError, match="come from a queue"):
        Incoming()
    bare = Incoming.__new__(Incoming)
    for name in ("sender", "body", "wants_answer"):
        with pytest.raises(TypeError, match="not made by"):
            getattr(bare, name)
    with pytest.raises(TypeError, match="int is no Incoming"):
        house.handover.seat({}, int, 0, 1, id, id, id)  # type: ignore[arg-type]  # refused, which is tested
    house.seats[house.first] = "nobody"  # type: ignore[assignment]  # refused, which is tested
    house.sender.send(0, house.first, b"", "low")
    with pytest.raises(TypeError):
        house.hand_out()


# --- sending


def test_what_cannot_be_sent_is_said_and_neither_sent_nor_counted(house: House) -> None:
    sender, most = house.sender, max(each.block_bytes for each in house.queues.blocks()) - 64
    house.agents.move(house.second, ACTIVE, DRAINING)
    free = house.free_blocks()
    for wrong, error in (
        ((house.second, b"x", "low"), errors.AgentGone),
        ((1 << 40, b"x", "low"), errors.AgentGone),
        ((house.first, b"x" * (most + 1), "low"), errors.MessageTooBig),
        ((house.first, 3.5, "low"), errors.EncodeError),
        ((house.first, b"x", "soon"), ValueError),
    ):
        receiver, body, priority = wrong
        with pytest.raises(error):
            sender.send(0, receiver, body, priority)
        with pytest.raises(error):
            sender.send_many(0, [(house.first, b"good"), (receiver, body)], priority)
    assert house.counted() == (0, 0, 0, 0) and house.free_blocks() == free
    assert house.queues.length(house.receiver.index) == 0
    assert sender.send(0, house.first, b"x" * most, "low")


def test_a_full_queue_and_a_full_mailbox_refuse(house: House) -> None:
    for _ in range(SMALL.queue_capacity):
        assert house.sender.send(0, house.first, b"", "low")
    assert not house.sender.send(0, house.first, b"", "low")
    assert house.hand_out()
    narrow = house.agent(limit=1)
    house.agents.set_depth(house.seats[narrow].slot, 1)
    assert not house.sender.send(0, narrow, b"", "low")
    assert house.counted()[:2] == (SMALL.queue_capacity + 2, 2)


def test_many_are_accepted_in_order_up_to_what_each_worker_refuses_first(house: House) -> None:
    elsewhere = house.queues.open("elsewhere")
    away, room = house.agent(elsewhere), SMALL.queue_capacity
    narrow = house.agent(limit=1)
    house.agents.set_depth(house.seats[narrow].slot, 1)
    items = [(house.first, b"%d" % n) for n in range(room + 2)]
    items[3:3] = [(away, b"a"), (narrow, b"no"), (away, b"b")]
    items.append((away, b"c"))
    accepted = house.sender.send_many(0, iter(items), "low")  # type: ignore[arg-type]  # any iterable will do
    expected = [True] * 4 + [False] + [True] * (room - 2) + [False] * 2 + [True]
    assert accepted == expected
    assert house.counted()[:2] == (len(items), 3)
    assert house.hand_out()
    assert house.seen(house.first) == [b"%d" % n for n in range(room)]
    taken = Receiver(house.queues, elsewhere).take()
    assert [message.tobytes() for message in taken] == [b"a", b"b", b"c"]


def test_blocks_of_refused_messages_are_given_back(house: House) -> None:
    items = [(house.first, b"")] * (SMALL.queue_capacity + 8)
    for _ in range(50):  # many more than there are blocks
        house.sender.send_many(0, items, "low")
        house.sender.send(0, house.first, b"", "low")
        assert house.hand_out()
    assert len(house.seen(house.first)) == 50 * SMALL.queue_capacity


def test_an_exhausted_pool_refuses_the_rest(house: House) -> None:
    held = []
    while (big := house.queues.send(house.receiver.index, 0, b"x" * 4000)) == 0:
        held += house.receiver.take()
    assert big != 0 and held
    assert house.sender.send_many(0, [(house.first, b"y" * 4000)] * 2, "low") == [False, False]
    assert house.sender.send_many(0, [(house.first, b"y")], "low") == [True]
    assert not house.sender.send(0, house.first, b"y" * 4000, "low")


# --- traces behind payloads


def test_a_trace_travels_behind_the_payload_where_there_is_room(house: House) -> None:
    trace = bytes(range(TRACE_BYTES))
    rooms = [each.block_bytes - 64 for each in house.queues.blocks()]
    queue = house.receiver.index
    for size in (0, 1, rooms[0] - TRACE_BYTES, rooms[0] - 1, rooms[0], rooms[-1]):
        payload = b"p" * size
        assert house.queues.send(queue, 0, payload, trace=trace) == OK
        (message,) = house.receiver.take()
        assert message.tobytes() == payload
        assert message.trace == (None if size == rooms[-1] else trace)
        message.release()
        assert message.trace is None
    with pytest.raises(errors.InvalidArgument, match="a trace of 31 bytes"):
        house.queues.send(queue, 0, b"", trace=trace[1:])


def test_a_head_that_claims_a_trace_without_room_for_it_has_none(house: House) -> None:
    room = house.queues.blocks()[0].block_bytes - 64
    house.queues.send(house.receiver.index, 0, b"x" * (room - 8), flags=TRACED)
    (message,) = house.receiver.take()
    assert message.flags & TRACED and message.trace is None
    assert message.tobytes() == b"x" * (room - 8)


# --- looking before sleeping


def test_a_look_ends_when_something_came_or_the_time_is_over(house: House) -> None:
    assert not house.receiver.look(0) and not house.receiver.look(1000)
    house.sender.send(0, house.first, b"", "low")
    assert house.receiver.look(0)


def test_what_a_handler_keeps_of_a_message_stays_that_messages(house: House) -> None:
    kept: list[Any] = []

    def keep_every_third(message: Any) -> None:
        if len(house.seen(house.first)) % 3 == 0:
            kept.append(message)

    house.seats[house.first].agent.do = keep_every_third
    for n in range(30):
        assert house.sender.send(n, house.first, b"%d" % n, "low")
        assert n % 4 or house.hand_out()
    assert house.hand_out()
    wanted = range(2, 30, 3)
    assert [message.body for message in kept] == [b"%d" % n for n in wanted]
    assert [message.sender for message in kept] == list(wanted)


def test_no_message_shows_the_body_of_one_before(house: House) -> None:
    def look_at_some(message: Any) -> None:
        if message.sender % 2:
            bodies.append((message.sender, message.body))

    bodies: list[tuple[int, Any]] = []
    agent = house.seats[house.first].agent
    agent.on_message = look_at_some
    for n in range(12):
        assert house.sender.send(n, house.first, b"%d" % n, "low")
    assert house.hand_out()
    assert bodies == [(n, b"%d" % n) for n in range(1, 12, 2)]


def test_a_trace_is_asked_for_as_soon_as_there_may_be_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def traced() -> bool:
        assert house.sender.send(0, house.first, b"", "low")
        (message,) = house.receiver.take(2)
        found = message.trace is not None
        message.release()
        return found

    house.sender = house.make_sender(bytes(range(TRACE_BYTES)))
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert not traced() and not traced()
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", sys)
    assert traced() and traced()
    # As many modules as before: it is noticed all the same, some messages later.
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    monkeypatch.setitem(sys.modules, "another module", sys)
    assert [traced() for _ in range(300)].count(False) > 0


def test_an_outlet_sends_in_its_agents_name(house: House) -> None:
    outlet = Outlet(house.sender, house.second, lambda ttl_s: round(ttl_s * 1000))
    assert outlet.send_nowait(house.first, b"plain")
    assert outlet.send_nowait(house.first, b"dated", priority="low", sent_ns=5, ttl_s=2)
    assert outlet.send_many_nowait([(house.first, b"one"), (house.first, b"two")]) == [True] * 2
    messages = house.receiver.take(9)
    assert [message.tobytes() for message in messages] == [b"plain", b"one", b"two", b"dated"]
    assert {message.sender for message in messages} == {house.second}
    assert [message.extra for message in messages] == [0, 0, 0, 2000]
    assert [message.lane for message in messages] == [1, 1, 1, 3] and messages[3].sent_ns == 5
    with pytest.raises(ValueError):
        outlet.send_nowait(house.first, b"", priority="no priority")
    with pytest.raises(TypeError):
        Outlet.__new__(Outlet).send_nowait(house.first, b"")
