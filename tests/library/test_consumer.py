"""`Consumer` and `WorkItem` on a small region: turns, acknowledgement, what becomes a letter."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from library.endpoints import House, house
from ultrafast import codec
from ultrafast.bus.consumer import Acknowledge, Consumer, WorkItem
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Reason
from ultrafast.core import Message
from ultrafast.errors import InvalidArgument, RegionClosed
from ultrafast.metric_names import Counter


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "ultrafast-c") as made:
        yield made


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, timeout=30))


class Desk:
    """A process with a queue, and the letters that its consumers made."""

    def __init__(self, endpoint: Endpoint, queue: str = "work") -> None:
        self.endpoint = endpoint
        self.queue = endpoint.queues.open(queue)
        self.letters: list[tuple[Any, Reason]] = []
        self.closed: list[Consumer] = []

    def consumer(
        self, max_batch: int = 4, acknowledge: Acknowledge = "auto", max_redeliveries: int = 2
    ) -> Consumer:
        return Consumer(
            self.endpoint,
            self.queue,
            "work",
            max_batch=max_batch,
            acknowledge=acknowledge,
            max_redeliveries=max_redeliveries,
            bury=self._bury,
            on_close=self.closed.append,
        )

    def put(self, *bodies: Any, lane: int = 2, extra: int = 0, number: int | None = None) -> None:
        for body in bodies:
            payload, found = codec.encode(body)
            assert self.endpoint.post(
                self.queue, lane, payload, int(Kind.WORK), found if number is None else number,
                correlation=self.endpoint.correlation(), sent_ns=1, extra=extra,
            )  # fmt: skip

    def waiting(self) -> int:
        return self.endpoint.queues.length(self.queue)

    def in_use(self) -> int:
        """Blocks of those that are neither free nor in this process's cache."""
        return sum(each.blocks - each.free for each in self.endpoint.queues.blocks())

    def _bury(self, message: Message, reason: Reason) -> None:
        self.letters.append((message.tobytes(), reason))
        message.release()


def bodies(items: list[WorkItem]) -> list[Any]:
    return [item.body for item in items]


def test_batches_are_the_oldest_of_the_most_urgent(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put(*range(5))
        desk.put("now", lane=0)
        with pytest.raises(InvalidArgument, match="max_batch is 0"):
            desk.consumer(0)
        with pytest.raises(InvalidArgument, match="acknowledge is 'never'"):
            desk.consumer(acknowledge="never")  # type: ignore[arg-type]  # what is tested
        async with desk.consumer(4) as consumer:
            assert bodies(consumer.batch_nowait(2)) == ["now", 0]
            assert bodies(await consumer.batch(100)) == [1, 2, 3, 4]  # its max_batch is the most
            assert consumer.batch_nowait() == []
            assert await consumer.batch(timeout_s=0.0) == []
            first = (await consumer.batch(timeout_s=0.01)) or desk.put(5)
            assert first is None
            (item,) = await consumer.batch()
            assert (item.body, item.priority, item.attempt, item.redelivered) == (5, 2, 0, False)
            assert item.sent_ns == 1 and item.id > 0 and f"{item.id:#x}" in repr(item)
        assert desk.closed == [consumer] and desk.waiting() == 0

    run(main())


def test_auto_releases_what_was_given_before_and_manual_does_not(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        metrics = desk.endpoint.metrics
        desk.put(*range(6))
        async with desk.consumer(2) as auto:
            first = await auto.batch()
            assert not any(item.released for item in first)
            second = await auto.batch()
            assert all(item.released for item in first)
            assert metrics.read_counter(Counter.DELIVERED) == 2
        assert all(item.released for item in second)  # the block ended well
        async with desk.consumer(2, "manual") as manual:
            third = await manual.batch()
            assert await manual.batch(timeout_s=0.0) == []
            assert not any(item.released for item in third)
            third[0].release()
            third[0].release()  # twice is once
        assert metrics.read_counter(Counter.DELIVERED) == 5
        assert desk.waiting() == 1  # what was not released went back

    run(main())


def test_an_iteration_gives_one_at_a_time_and_next_says_when_it_is_over(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put(*range(5))
        consumer = desk.consumer(4)
        seen = []
        async for item in consumer:
            seen.append(item.body)
            if len(seen) == 2:
                break
        assert seen == [0, 1]
        with pytest.raises(TimeoutError):
            for _ in range(4):
                seen.append((await consumer.next(0.01)).body)
        assert seen == [0, 1, 2, 3, 4]
        waiting = asyncio.ensure_future(consumer.next(20.0))
        ending = asyncio.ensure_future(anext(consumer))
        await asyncio.sleep(0.01)
        consumer.stop()
        consumer.stop()  # may be called twice
        with pytest.raises(RegionClosed, match="'work' was closed"):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await ending
        assert consumer.batch_nowait() == [] and await consumer.batch() == []
        consumer.close()

    run(main())


def test_what_was_taken_ahead_goes_back_in_its_order(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put(*range(4))
        consumer = desk.consumer(4, "manual")
        assert (await anext(consumer)).body == 0
        assert desk.waiting() == 0  # three wait in this process
        consumer.close()
        async with desk.consumer(4) as other:
            assert sorted(bodies(await other.batch())) == [0, 1, 2, 3]

    run(main())


def test_a_block_that_raises_rejects_and_one_that_is_cancelled_puts_back(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put("bad", "later")
        async with desk.consumer(2, "manual") as consumer:
            bad, later = await consumer.batch()
            with pytest.raises(ValueError, match="no"):
                async with bad:
                    raise ValueError("no")
            with pytest.raises(asyncio.CancelledError):
                async with later:
                    raise asyncio.CancelledError
            assert bad.released and later.released
            for item in (bad, later):  # and over is over
                item.reject()
                item.put_back()
                item.release()
            assert [reason for _, reason in desk.letters] == [Reason.REJECTED]
            assert bodies(consumer.batch_nowait()) == ["later"]

    run(main())


def test_the_overdue_and_the_unreadable_become_letters_and_the_rest_is_given(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put("late", extra=1)  # a millisecond after the clock's beginning
        desk.put(b"\xc1 not msgpack", number=codec.MSGPACK)
        desk.put("no such codec", number=250)
        desk.put("good")
        async with desk.consumer(4) as consumer:
            assert bodies(await consumer.batch()) == ["good"]
        assert [reason for _, reason in desk.letters] == [
            Reason.EXPIRED,
            Reason.UNREADABLE,
            Reason.UNREADABLE,
        ]

    run(main())


def test_what_the_dead_had_comes_first_and_marked_until_it_has_killed_too_many(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        desk.put("deadly", "new")
        for death in range(1, 3):
            victim = Desk(here.endpoint(f"victim {death}"))
            consumer = victim.consumer(1, "manual")
            (item,) = await consumer.batch()
            assert (item.body, item.attempt, item.redelivered) == ("deadly", death - 1, death > 1)
            here.die(victim.endpoint)
            assert here.mend() == 1
        async with desk.consumer(1, max_redeliveries=1) as consumer:
            assert (await consumer.next(5.0)).body == "new"
        assert [reason for _, reason in desk.letters] == [Reason.POISONOUS]
        assert desk.endpoint.metrics.read_counter(Counter.REDELIVERED) == 0

    run(main())


def test_a_redelivered_item_that_is_done_is_counted(here: House) -> None:
    async def main() -> None:
        desk, victim = Desk(here.endpoint("a")), Desk(here.endpoint("victim"))
        desk.put("once more")
        assert len(await victim.consumer(1, "manual").batch()) == 1
        here.die(victim.endpoint)
        here.mend()
        async with desk.consumer(1) as consumer:
            assert (await consumer.next(5.0)).redelivered
        assert desk.endpoint.metrics.read_counter(Counter.REDELIVERED) == 1

    run(main())


def test_one_bell_wakes_every_idle_consumer_that_there_is_work_for(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        consumers = [desk.consumer(1, "manual") for _ in range(3)]
        waiting = [asyncio.ensure_future(each.batch()) for each in consumers]
        await asyncio.sleep(0.01)
        desk.put(1, 2, 3)  # one ring: the others are woken by who was woken
        got = [item.body for items in await asyncio.gather(*waiting) for item in items]
        assert sorted(got) == [1, 2, 3]
        for each in consumers:
            each.close()

    run(main())


def test_two_who_ask_one_consumer_have_their_turns(here: House) -> None:
    async def main() -> None:
        desk = Desk(here.endpoint("a"))
        consumer = desk.consumer(4, "manual")
        first, second = (asyncio.ensure_future(consumer.batch(1)) for _ in range(2))
        await asyncio.sleep(0.01)
        desk.put("x", "y")
        assert bodies(await first) == ["x"] and bodies(await second) == ["y"]
        # Who gives up while it waits leaves everything as it was.
        given_up = asyncio.ensure_future(consumer.batch())
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        desk.put("z")
        assert bodies(await consumer.batch()) == ["z"]
        consumer.close()
        assert desk.waiting() == 3

    run(main())
