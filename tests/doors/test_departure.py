"""An agent leaves its worker: what was sent before is waited for, what comes after goes on."""

from collections.abc import Callable

import pytest

from ultrafast import errors
from ultrafast.codec import RAW
from ultrafast.core import Agents, Departure, Metrics, Queues, Receiver, Region, Sender
from ultrafast.core._agents import ACTIVE, ARRIVING, MOVING, STARTING
from ultrafast.core._bodies import Bodies
from ultrafast.core._correlations import Correlations
from ultrafast.core._status import OK


class Post:
    """Two workers' inboxes, an agent of the first, and who sends."""

    def __init__(self, region: Region) -> None:
        self.queues = Queues(region)
        self.agents = Agents(region)
        self.inboxes = [self.queues.open(name) for name in ("host-0", "host-1")]
        self.receivers = [Receiver(self.queues, index) for index in self.inboxes]
        self.sender = self.sending(lambda body: (body, RAW))

    def sending(self, encode: Callable[[bytes], tuple[bytes, int]]) -> Sender:
        return Sender(
            self.queues, self.agents, Metrics(self.queues.region), Correlations(1), 0, RAW,
            Bodies(encode), {"normal": 2, "high": 1}, int, lambda: None, (0, 1),
        )  # fmt: skip

    def agent(self, inbox: int) -> int:
        id = self.agents.new(self.agents.type("coder"), inbox, 1, STARTING, 9, 0, 1)
        assert self.agents.move(id, STARTING, ACTIVE) == OK
        return id

    def taken(self, worker: int) -> list[bytes]:
        found = self.receivers[worker].take()
        bodies = [each.tobytes() for each in found]
        for each in found:
            each.release()
        return bodies


@pytest.fixture
def post(region: Region) -> Post:
    return Post(region)


def test_what_was_sent_before_is_taken_first(post: Post) -> None:
    here, there = post.inboxes
    id = post.agent(here)
    assert post.sender.send(0, id, b"1", "normal") and post.sender.send(0, id, b"2", "high")
    assert post.agents.leave(id, here, there) == OK
    departure = Departure(post.queues, here)
    assert post.sender.send(0, id, b"3", "normal")
    assert not departure.is_over() and departure.on_way == 0
    assert post.taken(0) == [b"2", b"1"]
    assert departure.is_over() and departure.is_over(patient=False)
    assert post.agents.move(id, MOVING, ARRIVING) == OK
    info = post.agents.look(id)
    assert info is not None and (info.worker, info.left) == (there, here)
    assert post.taken(1) == [b"3"] and post.taken(0) == []


def test_many_are_sent_to_where_each_lives_by_then(post: Post) -> None:
    here, there = post.inboxes
    ids = [post.agent(here) for _ in range(4)]
    bodies = [b"%d" % number for number in range(8)]

    def items() -> list[tuple[int, bytes]]:
        return list(zip(ids * 2, bodies, strict=True))

    class Moves(bytes):
        """Has two of the agents moved while messages are made of it, after they were routed."""

    def encode(body: bytes) -> tuple[bytes, int]:
        for id in ids[1:3]:
            post.agents.leave(id, here, there)
        return bytes(body), RAW

    sender = post.sending(encode)
    given = items()
    given[-1] = (given[-1][0], Moves(given[-1][1]))
    assert sender.send_many(0, given, "normal") == [True] * 8
    assert post.taken(0) == [b"0", b"3", b"4", b"7"]
    assert post.taken(1) == [b"1", b"2", b"5", b"6"]


def test_who_ended_meanwhile_is_refused_alone(post: Post) -> None:
    here, _ = post.inboxes
    ids = [post.agent(here) for _ in range(3)]

    class Ends(bytes):
        """Ends an agent while a message is made of it."""

    def encode(body: bytes) -> tuple[bytes, int]:
        post.agents.move(ids[1], ACTIVE, 0)
        return bytes(body), RAW

    sender = post.sending(encode)
    given = [(ids[0], b"0"), (ids[1], b"1"), (ids[2], Ends(b"2"))]
    assert sender.send_many(0, given, "normal") == [True, False, True]
    assert post.taken(0) == [b"0", b"2"]
    free = [each.free for each in post.queues.blocks()]
    post.queues.region.close()
    assert sum(free) > 0


def test_a_closed_region_is_said(region: Region) -> None:
    queues = Queues(region)
    departure = Departure(queues, queues.open("host-0"))
    with pytest.raises(errors.InvalidArgument):
        Departure(queues, 99).is_over()
    region.close()
    with pytest.raises(errors.RegionClosed):
        departure.is_over()
