"""Named queues, time to live and dead letters over real processes, some of them killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

# Consumes until it is killed: writes what it takes before it is done with it, then its release.
CONSUMER = """
import asyncio, os, sys
import ultrafast as uf

async def main(name, path, queue, batch, die_at):
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with uf.attach(name) as client:
        async with client.consume(queue, batch, acknowledge="manual") as consumer:
            os.write(log, b"ready 0\\n")
            while True:
                for item in await consumer.batch():
                    os.write(log, b"%d %d\\n" % (item.body, item.redelivered))
                    if item.body == die_at:
                        os.kill(os.getpid(), 9)
                    item.release()

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
"""


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 0, "max_concurrent_agents": 100, **config}
        async with uf.UltraFastAgentManager(uf.Config(**settings)) as manager:
            await body(manager)

    asyncio.run(main())


def accounts(manager: uf.UltraFastAgentManager) -> tuple[int, int]:
    read = manager.metrics_counter
    return read(Counter.SENT), sum(
        map(read, (Counter.DELIVERED, Counter.REFUSED, Counter.DEAD_LETTERED))
    )


class Consumers:
    """Consuming processes, and what they wrote."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name, self._directory = name, directory
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, queue: str, batch: int = 4, die_at: int = -1) -> subprocess.Popen[bytes]:
        path = self._directory / f"log-{len(self.processes)}"
        command = [sys.executable, "-c", CONSUMER, self._name, str(path), queue, str(batch)]
        self.processes.append(subprocess.Popen([*command, str(die_at)]))
        return self.processes[-1]

    def log(self, which: int | None = None) -> list[tuple[str, int]]:
        pattern = "log-*" if which is None else f"log-{which}"
        lines = [line for p in self._directory.glob(pattern) for line in p.read_text().splitlines()]
        return [(words[0], int(words[1])) for words in map(str.split, lines)]

    def items(self) -> Tally[str]:
        return Tally(word for word, _ in self.log() if word != "ready")

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_items_of_a_queue_go_to_one_consumer_each_and_urgent_ones_first() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        for n in range(10):
            assert queue.put_nowait(n, priority="low" if n < 5 else "high")
        assert len(queue) == 10
        async with m.consume("work", 3) as one, m.consume("work", 3) as other:
            got = [i.body for i in await one.batch()] + [i.body for i in await other.batch()]
            assert got == [5, 6, 7, 8, 9, 0]
            got += [(await one.next(5.0)).body for _ in range(4)]
            assert got == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
            assert await other.batch(timeout_s=0.01) == []
        sent, accounted = accounts(m)
        assert sent == accounted == 10
        with pytest.raises(errors.InvalidArgument, match="max_batch is 0"):
            m.consume("work", 0)
        with pytest.raises(errors.InvalidArgument, match="1 to 56 bytes"):
            m.queue("n" * 57)

    run(body)


def test_an_item_is_released_rejected_or_put_back() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        for n in range(3):
            assert await queue.put({"n": n})
        async with m.consume("work", 3, acknowledge="manual") as consumer:
            done, failed, later = await consumer.batch()
            async with done:
                pass
            with pytest.raises(ZeroDivisionError):
                async with failed:
                    raise ZeroDivisionError
            later.put_back()
            assert done.released and failed.released and later.released
            again = await consumer.next(5.0)
            assert again.body == {"n": 2} and not again.redelivered
        # Closed with an item that was not released: it is there for the next consumer.
        assert len(queue) == 1
        (letter,) = m.dead_letters()
        assert (letter.reason, letter.queue, letter.body) == ("rejected", "work", {"n": 1})
        assert m.resend(letter)
        with pytest.raises(errors.EntryMissing, match="no dead letter any more"):
            m.resend(letter)
        async with m.consume("work") as consumer:
            assert sorted([(await consumer.next(5.0)).body["n"] for _ in range(2)]) == [1, 2]
        sent, accounted = accounts(m)
        assert sent == accounted == 4

    run(body)


def test_a_full_queue_refuses_and_a_waiting_put_goes_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        assert all(queue.put_nowait(n) for n in range(16))
        assert not queue.put_nowait(16)
        putting = asyncio.ensure_future(queue.put(16, timeout_s=30.0))
        async with m.consume("work") as consumer:
            got = [(await consumer.next(5.0)).body for _ in range(16)]
            assert await putting
            got.append((await consumer.next(5.0)).body)
        assert got == list(range(17))
        sent, accounted = accounts(m)
        assert sent == accounted == 18

    run(body, queue_capacity=16)


def test_no_more_named_queues_than_the_config_allows() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        with pytest.raises(errors.NoSlot, match=r"raise Config\(max_named_queues"):
            for n in range(100):
                m.queue(f"queue {n}")

    run(body, max_named_queues=2, max_processes=4)


def test_what_killed_consumers_had_others_get_marked_redelivered(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        consumers = Consumers(m.name, tmp_path)
        try:
            consumers.start("work", batch=4, die_at=5)
            await until(lambda: consumers.log() != [])
            queue = m.queue("work")
            for n in range(40):
                assert queue.put_nowait(n)
            await until(lambda: consumers.processes[0].poll() is not None)
            for _ in range(2):
                consumers.start("work", batch=1)
            await until(lambda: set(consumers.items()) == {str(n) for n in range(40)})
            await until(lambda: m.metrics_counter(Counter.DELIVERED) == 40)
            twice = {word for word, times in consumers.items().items() if times > 1}
            assert twice == {"5"}
            assert [mark for word, mark in consumers.log() if word == "5"].count(1) == 1
            for process in consumers.processes[1:]:
                os.kill(process.pid, signal.SIGKILL)
            assert accounts(m) == (40, 40)
        finally:
            consumers.end()

    run(body)


def test_an_item_that_kills_every_consumer_becomes_a_dead_letter(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        consumers = Consumers(m.name, tmp_path)
        try:
            queue = m.queue("work")
            assert queue.put_nowait(13) and queue.put_nowait(14)
            for n in range(3):
                consumers.start("work", batch=1, die_at=13)
                await until(lambda n=n: consumers.processes[n].poll() is not None)  # type: ignore[misc]  # a default binds n
            consumers.start("work", batch=1, die_at=13)
            await until(lambda: "14" in consumers.items())
            # The third death may be mended after that; until then nobody has the item.
            await until(lambda: bool(m.dead_letters(reason="poisonous")))
            assert consumers.items()["13"] == 3
            (letter,) = m.dead_letters(reason="poisonous")
            assert (letter.body, letter.attempts, letter.queue) == (13, 3, "work")
        finally:
            consumers.end()

    run(body, max_redeliveries=2)


class Slow(uf.Agent):
    """Is at its first message until it is let go, and says what it saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "seen":
            return self.seen
        self.seen.append(message.body)
        while message.body == "first" and not self.context.memory_store.get("slow", "go", False):
            await asyncio.sleep(0.001)
        return None


@pytest.mark.parametrize("workers", [0, 1])
def test_an_expired_message_is_not_handled_and_its_asker_is_told(workers: int) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        m.register("slow", Slow)
        slow = await m.spawn_agent("slow")
        assert await m.send_message(None, slow, "first", ttl_s=30.0)
        assert await m.send_message(None, slow, "second", ttl_s=0.001)
        third = asyncio.ensure_future(m.request(None, slow, "third", timeout_s=60.0, ttl_s=0.002))
        await asyncio.sleep(0.01)  # overdue, both of them
        m.memory_store.set("slow", "go", True)
        with pytest.raises(errors.MessageExpired, match=r"within its 0\.002 s"):
            await third
        assert await m.request(None, slow, "seen") == ["first"]
        letters = m.dead_letters()
        assert [(e.reason, e.body) for e in letters] == [
            ("expired", "second"),
            ("expired", "third"),
        ]
        assert m.metrics_counter(Counter.OVERDUE) == 2
        assert m.resend(letters[0])
        assert await m.request(None, slow, "seen") == ["first", "second"]
        assert [letter.body for letter in m.take_dead_letters()] == ["third"]
        assert m.dead_letters() == []
        await until(lambda: len(set(accounts(m))) == 1)
        with pytest.raises(errors.InvalidArgument, match="ttl_s is -1"):
            await m.send_message(None, slow, "x", ttl_s=-1)

    run(body, workers=workers)


def test_an_expired_item_of_a_queue_is_a_dead_letter() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        assert queue.put_nowait("late", ttl_s=0.001) and queue.put_nowait("kept", ttl_s=60)
        await asyncio.sleep(0.002)
        async with m.consume("work") as consumer:
            assert (await consumer.next(5.0)).body == "kept"
        assert [(e.reason, e.body) for e in m.dead_letters()] == [("expired", "late")]
        assert accounts(m) == (2, 2)

    run(body)


def test_a_full_dead_letter_queue_drops_the_oldest_with_a_count() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        async with m.consume("work", 1, acknowledge="manual") as consumer:
            for n in range(20):
                assert queue.put_nowait(n)
                (await consumer.next(5.0)).reject()
        assert [letter.body for letter in m.dead_letters()] == list(range(4, 20))
        assert [letter.body for letter in m.dead_letters(2, reason="rejected")] == [4, 5]
        assert m.dead_letters(reason="expired") == []
        assert m.metrics_counter(Counter.LETTERS_LOST) == 4
        assert m.metrics_counter(Counter.DEAD_LETTERED) == 20

    run(body, queue_capacity=16)
