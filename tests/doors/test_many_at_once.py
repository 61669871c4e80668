"""Several processes at once on one structure: each message once, in order, whole; counts exact.

What they did is judged by `judge_messages` and its like; that judge is tried on histories with a
fault put in. Every test wants to have seen the processes meet.
"""

import random
import select
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from doors.actor import Record
from doors.actors import Actor, actors
from doors.laps import Laps
from doors.small import SMALL
from ultrafast.core import Agents, Metrics, Queues, Region, Sizes, Table, now_ns
from ultrafast.core._agents import ACTIVE, BUILDING, DRAINING, FREE, STARTING, STOPPED, WARM
from ultrafast.core._status import OK

Got = list[tuple[int, Record]]
Sent = dict[int, Got]

LAST = 255
SENDERS, RECEIVERS = 3, 2
EACH = 400
HEAD_START_NS = 20_000_000


def sizes(**changed: object) -> Sizes:
    return msgspec.structs.replace(SMALL, **changed)


def together(many: list[Actor], *commands: tuple[object, ...]) -> list[object]:
    """Give each its command, with a common start, and collect the answers."""
    start = now_ns() + HEAD_START_NS
    for actor, (name, *arguments) in zip(many, commands, strict=True):
        actor.tell(name, start, *arguments)
    return [actor.hear() for actor in many]


def message(sender: int, number: int, dice: random.Random) -> Record:
    payload = dice.randbytes(dice.choice([0, 1, 63, 64, 65, 200, 300]))
    return (payload, 1, 0, sender, 0, zlib.crc32(payload), number, 0, len(payload))


def judge_messages(got: list[Got], sent: Sent) -> None:
    """Each once and whole; at every receiver each sender's in order, lane by lane."""
    for each in got:
        for lane, (payload, _, _, sender, _, crc, number, _, length) in each:
            assert (zlib.crc32(payload), len(payload)) == (crc, length), "torn"
            assert (lane, number) in {(lane, record[6]) for lane, record in sent[sender]}
        last: dict[tuple[int, int], int] = {}
        for lane, record in each:
            key = record[3], lane
            assert last.get(key, -1) < record[6], "out of order, or twice"
            last[key] = record[6]
    counts = Counter((record[3], record[6]) for each in got for _, record in each)
    wanted = Counter((sender, record[6]) for sender, all in sent.items() for _, record in all)
    assert counts == wanted, (
        f"{(counts - wanted).total()} too many, {(wanted - counts).total()} lost"
    )


def exchange(
    path: Path, capacity: int
) -> tuple[list[Got], dict[int, list[tuple[int, Record]]], int]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    made = sizes(queue_capacity=capacity, message_blocks=((384, 24),))
    sent = {
        sender: [(dice.randrange(4), message(sender, n, dice)) for n in range(EACH)]
        for sender in range(SENDERS)
    }
    with Region.create(path, made) as region:
        laps = Laps(path, made)
        laps.begin(capacity * EACH // 8)
        queue = Queues(region).open("inbox")
        with actors(path, SENDERS + RECEIVERS) as many:
            start = now_ns() + HEAD_START_NS
            for actor in many[:RECEIVERS]:
                actor.tell("receive_many", start, queue, LAST)
            for sender, actor in enumerate(many[RECEIVERS:]):
                actor.tell("send_many", start, queue, sent[sender])
            refused = sum(actor.hear() for actor in many[RECEIVERS:])
            while Queues(region).length(queue):
                pass
            stop: Record = (b"", LAST, 0, 0, 0, 0, 0, 0, 0)
            got: list[Got] = []
            waiting = {actor.stream: actor for actor in many[:RECEIVERS]}
            while waiting:  # whoever takes it is done; then the next
                many[-1].do("send_many", 0, queue, [(0, stop)])
                done, _, _ = select.select(waiting, [], [], 60)
                got.append(waiting.pop(done[0]).hear())
        assert [each.free for each in Queues(region).blocks()] == [24]
        assert laps.crossed()["lap"] >= 4, "no lane went through its wrap"
        laps.close()
    return [[each for each in part if each[1][1] != LAST] for part in got], sent, refused


@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_each_message_arrives_once_in_order_and_whole(path: Path, capacity: int) -> None:
    got, sent, refused = exchange(path, capacity)
    judge_messages(got, sent)
    print(f"{sum(map(len, got))} messages, {refused} refusals, receivers had {[*map(len, got)]}")
    assert refused > 0, "no sender ever met a full lane"
    assert all(got), "one receiver took everything"


def lose(got: list[Got]) -> None:
    part = max(got, key=len)
    del part[len(part) // 2]


def double(got: list[Got]) -> None:
    part = max(got, key=len)
    got[1].append(part[0])


def swap(got: list[Got]) -> None:
    # Whichever lane and sender the larger part has most of: of 1200 messages, at least 50.
    part = max(got, key=len)
    places: dict[tuple[int, int], list[int]] = {}
    for n, (lane, record) in enumerate(part):
        places.setdefault((lane, record[3]), []).append(n)
    one, other, *_ = max(places.values(), key=len)
    part[one], part[other] = part[other], part[one]


def tear(got: list[Got]) -> None:
    part = max(got, key=len)
    at = next(n for n, (_, record) in enumerate(part) if len(record[0]) > 64)
    lane, (payload, *rest) = part[at]
    torn = payload[:64] + bytes(len(payload) - 64)
    part[at] = (lane, (torn, *rest))  # type: ignore[assignment]  # the rest is a record's


def mix_up_lanes(got: list[Got]) -> None:
    part = max(got, key=len)
    lane, record = part[0]
    part[0] = ((lane + 1) % 4, record)


@pytest.mark.parametrize("fault", [lose, double, swap, tear, mix_up_lanes])
def test_the_judge_of_messages_sees_each_fault(
    path: Path, fault: Callable[[list[Got]], None]
) -> None:
    got, sent, _ = exchange(path, 4)
    judge_messages(got, sent)
    fault(got)
    with pytest.raises(AssertionError):
        judge_messages(got, sent)


def test_a_counter_kept_by_compare_and_set_loses_no_step(path: Path) -> None:
    made = sizes(buckets=1, extensions=0, value_blocks=((192, 31),))
    with Region.create(path, made) as region, actors(path, 3) as many:
        laps = Laps(path, made)
        laps.begin(50)
        lost = together(many, *[("increment_many", "n", 300)] * 3)
        assert Table(region).get("s", "n") == 900
        assert any(lost), "no two ever wanted the entry at once"
        assert laps.crossed()["block"] > 0
        laps.close()


def test_what_is_inserted_by_one_is_nobody_elses(path: Path) -> None:
    made = sizes(buckets=64, extensions=16, value_blocks=((192, 400),))
    met = 0
    with Region.create(path, made) as region, actors(path, 3) as many:
        table = Table(region)
        for turn in range(10):
            keys = [f"{turn} {n}" for n in range(100)]
            got = together(many, *[("insert_many", keys, me) for me in range(3)])
            inserted = [key for each in got for key in each]  # type: ignore[attr-defined]  # lists
            assert sorted(inserted) == sorted(keys)
            for me, mine in enumerate(got):
                assert all(table.get("s", key) == me for key in mine)  # type: ignore[attr-defined]  # lists
            met += sum(bool(each) for each in got) > 1
            assert all(table.delete("s", key) for key in keys)
    assert met > 0, "one was always done before the others began"


def test_values_are_read_whole_while_others_write_and_delete(path: Path) -> None:
    made = sizes(buckets=1, extensions=1, value_blocks=((640, 20),))
    with Region.create(path, made) as region, actors(path, 4) as many:
        laps = Laps(path, made)
        laps.begin(20)
        *stored, first, second = together(
            many,
            *[("write_many", 9, me, 600) for me in range(2)],
            *[("read_many", 9, 3000) for _ in range(2)],
        )
        for different, torn in (first, second):  # type: ignore[misc]  # pairs
            assert torn == []
            assert different > 20, "the readers saw hardly a change"
        assert all(isinstance(each, int) and each > 500 for each in stored)
        crossed = laps.crossed()
        assert crossed["block"] and crossed["bucket"]
        laps.close()
        table = Table(region)
        for key in list(table.keys()):
            assert table.delete(*key)
        assert [each.free for each in table.blocks()] == [20]


def test_a_warm_agent_is_claimed_by_one(path: Path) -> None:
    with Region.create(path, sizes(agents=64, warm=4)) as region, actors(path, 3) as many:
        agents = Agents(region)
        coder = agents.type("coder")
        met = 0
        for _ in range(10):
            made = [agents.new(coder, 0, 0, BUILDING, 5, 0, 1) for _ in range(60)]
            assert all(agents.move(id, BUILDING, WARM) == OK for id in made)
            got = together(many, *[("claim_many", coder, 60)] * 3)
            claimed = [id for each in got for id in each]  # type: ignore[attr-defined]  # lists
            assert sorted(claimed) == sorted(made)
            met += sum(bool(each) for each in got) > 1
            for id in made:
                assert agents.move(id, STARTING, FREE) == OK
        assert agents.count() == 0
        assert met > 0, "one had always claimed them all before the others began"


@pytest.mark.parametrize("records", [1, 2, 4])
def test_ids_are_never_given_twice(path: Path, records: int) -> None:
    states = [STARTING, ACTIVE, DRAINING, STOPPED, FREE]
    made = sizes(agents=records, warm=1)
    with Region.create(path, made) as region, actors(path, 3) as many:
        laps = Laps(path, made)
        laps.begin(20)
        coder = Agents(region).type("coder")
        got = together(many, *[("turn_over_many", coder, states, 100)] * 3)
        ids = [id for each in got for id in each]  # type: ignore[attr-defined]  # lists
        assert len(set(ids)) == 300 and 0 not in ids
        assert Agents(region).count() == 0
        assert laps.crossed()["generation"] > 0
        laps.close()


@pytest.mark.parametrize("shards", [1, 4])
def test_counts_are_exact(path: Path, shards: int) -> None:
    made = sizes(shards=shards)
    dice = random.Random(shards)
    values = [[dice.randrange(1 << 30) for _ in range(500)] for _ in range(3)]
    with Region.create(path, made) as region, actors(path, 3) as many:
        together(many, *[("measure_many", 5, 2, each) for each in values])
        metrics = Metrics(region)
        total = sum(map(sum, values))
        assert metrics.read_counter(5) == total
        counts, added, largest = metrics.read(2)
        assert (int(counts.sum()), added, largest) == (1500, total, max(map(max, values)))


def test_a_name_opened_by_many_is_one_queue(path: Path) -> None:
    names = [f"queue {number}" for number in range(60)]
    with Region.create(path, sizes(queues=64)) as region, actors(path, 3) as many:
        got = together(many, *[("open_many", names)] * 3)
        assert got[0] == got[1] == got[2]
        assert isinstance(got[0], dict) and len(set(got[0].values())) == 60
        assert [Queues(region).name(index) for index in got[0].values()] == names
