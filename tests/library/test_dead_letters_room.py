"""Dead letters where there is no room: a full queue, an exhausted pool, a message of any size."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from library.endpoints import House, house
from ultrafast.bus.deadletters import DeadLetters
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Reason
from ultrafast.codec import MSGPACK
from ultrafast.core import Message, Receiver
from ultrafast.metric_names import Counter

CAPACITY = 16  # of the region's lanes


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "ultrafast-l") as made:
        yield made


class Undelivered:
    """A queue of messages that will not be delivered."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._queue = endpoint.queues.open("undelivered")
        self._receiver = Receiver(endpoint.queues, self._queue)

    def message(self, body: bytes) -> Message:
        number = self._endpoint.correlation()
        assert self._endpoint.post(self._queue, 2, body, int(Kind.DATA), MSGPACK, 0, 5, number, 1)
        (message,) = self._receiver.take(1)
        return message

    def exhaust(self) -> list[Message]:
        """Take every block there is."""
        taken = []
        while True:
            free = [each.block_bytes for each in self._endpoint.queues.blocks() if each.free]
            if not self._endpoint.post(self._queue, 2, b"x" * 60, int(Kind.DATA)):
                assert not free or max(free) < 128
                return taken
            taken += self._receiver.take(1)


def test_of_a_full_queue_the_oldest_gives_way_and_the_reason_is_kept(here: House) -> None:
    endpoint = here.endpoint("a")
    letters, source = DeadLetters(endpoint), Undelivered(endpoint)
    for number in range(CAPACITY + 3):
        letters.put(source.message(bytes([number])), Reason.EXPIRED)
    kept = letters.read(100)
    assert [letter.body for letter in kept] == list(range(3, CAPACITY + 3))
    assert {letter.reason for letter in kept} == {"expired"}
    assert endpoint.metrics.read_counter(Counter.LETTERS_LOST) == 3


def test_where_the_pool_is_exhausted_the_message_itself_is_the_letter(
    here: House, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = here.endpoint("a")
    letters, source = DeadLetters(endpoint), Undelivered(endpoint)
    letters.put(source.message(b"\x01"), Reason.EXPIRED)
    message = source.message(b"\x02")
    taken = source.exhaust()
    letters.put(message, Reason.EXPIRED)
    for each in taken:
        each.release()
    found = {letter.body: letter for letter in letters.take(100)}
    # The one that was there did not have to give way, and the new one is there without its reason.
    assert (found[1].reason, found[2].reason) == ("expired", "unknown")
    assert (found[2].kind, found[2].receiver) == ("data", 5)
    assert endpoint.metrics.read_counter(Counter.LETTERS_LOST) == 0
    assert not caplog.records


def test_where_both_are_short_the_oldest_gives_way_to_the_message_itself(here: House) -> None:
    endpoint = here.endpoint("a")
    letters, source = DeadLetters(endpoint), Undelivered(endpoint)
    for number in range(CAPACITY):
        letters.put(source.message(bytes([number])), Reason.REJECTED)
    message = source.message(b"\x63")
    taken = source.exhaust()
    letters.put(message, Reason.EXPIRED)
    for each in taken:
        each.release()
    assert [letter.body for letter in letters.take(100)][-1] == 0x63
    assert 1 <= endpoint.metrics.read_counter(Counter.LETTERS_LOST) <= 2


def test_a_publication_that_finds_no_room_is_counted_and_said(
    here: House, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = here.endpoint("a")
    letters, source = DeadLetters(endpoint), Undelivered(endpoint)
    taken = source.exhaust()
    letters.put_payload(b"\x92\xa1x\x01", Reason.SLOW_CONSUMER)
    for each in taken:
        each.release()
    assert letters.read(10) == []
    assert endpoint.metrics.read_counter(Counter.LETTERS_LOST) == 1
    assert "a publication of 4 bytes has no room" in caplog.text
