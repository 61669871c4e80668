"""Deleting named queues, over processes, some of them killed: nothing is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast import errors
from ultrafast.bus import groups

pytestmark = pytest.mark.usefixtures("clean_shm")

# Does one thing with the queue "jobs", says so, and waits for a line, or for its end.
OTHER = """
import asyncio, os, sys
import ultrafast as uf
from ultrafast import errors
from ultrafast.bus import deletion

async def main(name, deed):
    async with uf.attach(name) as client:
        queue = client.queue("jobs")
        if deed == "put":
            accepted = 0
            print("ready", flush=True)
            try:
                while True:
                    if len(queue) < 3000:
                        accepted += queue.put_nowait(b"x")
                    else:
                        queue.put_many_nowait([])
            except errors.QueueDeleted:
                print(accepted, flush=True)
        elif deed == "hold":
            receiver = queue.receiver(2)
            print(receiver.get_many(timeout_s=10.0), flush=True)
            sys.stdin.readline()
            receiver.done()
            print("done", flush=True)
            sys.stdin.readline()
        elif deed == "wait":
            receiver = queue.receiver()
            print("ready", flush=True)
            try:
                receiver.get(60.0)
            except errors.QueueDeleted:
                print("deleted", flush=True)
        elif deed == "delete":
            left = [3]
            def bury(message, reason):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), 9)
                client.bus.dead_letter(message, reason)
            queue._bury = bury
            print("ready", flush=True)
            queue.delete()

asyncio.run(main(*sys.argv[1:]))
"""


class Other:
    """Another process of the system."""

    def __init__(self, manager: uf.UltraFastAgentManager, deed: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", OTHER, manager.name, deed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def hear(self) -> str:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 60)
        return line.strip()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(asyncio.to_thread(self.process.wait), 60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 0, "max_concurrent_agents": 100, **config}
        async with uf.UltraFastAgentManager(uf.Config(**settings)) as manager:
            await body(manager)

    asyncio.run(main())


def letters(m: uf.UltraFastAgentManager) -> list[tuple[str, str, Any]]:
    return [(each.reason, each.queue, each.body) for each in m.dead_letters()]


def test_items_become_dead_letters_and_every_call_says_that_it_was_deleted() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        for number in range(5):
            assert queue.put_nowait(number, priority=number % 4)
        consumer = queue.consume(acknowledge="manual")
        receiver = queue.receiver()
        assert queue.delete() == 5
        assert sorted(letters(m)) == [("queue_deleted", "jobs", number) for number in range(5)]
        calls: list[Callable[[], object]] = [
            lambda: queue.put_nowait(b"bytes"),
            lambda: queue.put_nowait({"a": 1}),
            lambda: queue.put_many_nowait([b"a", b"b"]),
            lambda: queue.put_many_nowait([1, 2.5]),
            lambda: queue.put_blocking(b"bytes", 10.0),
            lambda: queue.put_nowait(m.loan(100)),
            lambda: receiver.get(10.0),
            lambda: receiver.get_nowait(),
            lambda: receiver.get_many(timeout_s=10.0),
            lambda: consumer.batch_nowait(),
            queue.delete,
        ]
        for call in calls:
            with pytest.raises(errors.QueueDeleted, match="the queue was deleted"):
                call()
        for waits in (queue.put(b"bytes", timeout_s=10.0), consumer.batch(), consumer.next(10.0)):
            with pytest.raises(LookupError, match="the queue was deleted"):
                await waits
        consumer.close()
        receiver.close()
        # The name stands for another queue from here on.
        again = m.queue("jobs")
        assert again is not queue and len(again) == 0 and again is m.queue("jobs")
        letter = m.dead_letters()[0]
        assert m.resend(letter) and len(again) == 1
        with again.receiver() as other:
            assert other.get(10.0) == letter.body
        assert m.bus._endpoint.queues.closing(queue.index) == 0

    run(body)


def test_places_are_used_again() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        for number in range(40):
            queue = m.queue(f"job-{number}")
            assert queue.put_nowait(b"one") and queue.put_nowait(b"two")
            with queue.receiver() as receiver:
                assert receiver.get(10.0) == b"one"
            assert queue.delete() == 1

    run(body, max_named_queues=4)


def test_those_who_sleep_on_it_are_told() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        other = Other(m, "wait")
        assert await other.hear() == "ready"
        told: list[str] = []

        def wait() -> None:
            try:
                queue.receiver().get(60.0)
            except errors.QueueDeleted:
                told.append("thread")

        thread = threading.Thread(target=wait)
        thread.start()
        waiting = asyncio.ensure_future(queue.consume().next(60.0))
        await asyncio.sleep(0.3)
        assert queue.delete() == 0
        with pytest.raises(errors.QueueDeleted):
            await waiting
        assert await other.hear() == "deleted"
        await asyncio.to_thread(thread.join, 30)
        assert told == ["thread"]
        await other.end()

    run(body)


def test_what_a_consumer_has_it_may_finish_and_its_place_waits_for_that() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        assert queue.put_many_nowait([b"1", b"2", b"3"]) == 3
        consumer = queue.consume(1, acknowledge="manual")
        first, second = await consumer.next(10.0), await consumer.next(10.0)
        assert queue.delete() == 1
        queues = m.bus._endpoint.queues
        assert queues.closing(queue.index) != 0, "two items are held"
        first.release()
        second.put_back()
        assert letters(m) == [("queue_deleted", "jobs", b"3"), ("queue_deleted", "jobs", b"2")]
        consumer.close()
        await until(lambda: queues.closing(queue.index) == 0)

    run(body)


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_consumer_held_is_a_dead_letter_only_if_it_dies(killed: bool) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        assert queue.put_many_nowait([b"1", b"2", b"3"]) == 3
        other = Other(m, "hold")
        assert await other.hear() == "[b'1', b'2']"
        assert queue.delete() == 1
        queues = m.bus._endpoint.queues
        assert queues.closing(queue.index) != 0
        if killed:
            os.kill(other.process.pid, signal.SIGKILL)
        else:
            other.tell()
            assert await other.hear() == "done"
        await until(lambda: queues.closing(queue.index) == 0)
        wanted = [b"3", b"1", b"2"] if killed else [b"3"]
        assert letters(m) == [("queue_deleted", "jobs", each) for each in wanted]
        await other.end()

    run(body)


def test_another_goes_on_where_who_deleted_it_was_killed() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("jobs")
        bodies = [b"%d" % number for number in range(100)]
        assert queue.put_many_nowait(bodies) == 100
        other = Other(m, "delete")
        assert await other.hear() == "ready"
        await asyncio.wait_for(asyncio.to_thread(other.process.wait), 60)
        assert other.process.returncode == -signal.SIGKILL
        with pytest.raises(errors.QueueDeleted):
            queue.put_nowait(b"late")
        await until(lambda: m.bus._endpoint.queues.closing(queue.index) == 0)
        kept = letters(m)
        assert sorted(each[2] for each in kept) == sorted(bodies)
        assert {each[:2] for each in kept} == {("queue_deleted", "jobs")}
        await other.end()

    run(body)


async def delete_beside_senders(m: uf.UltraFastAgentManager) -> None:
    queue = m.queue("jobs")
    others = [Other(m, "put"), Other(m, "put")]
    assert [await other.hear() for other in others] == ["ready"] * 2
    await until(lambda: len(queue) > 100)
    with queue.receiver(64) as receiver:
        got = len(receiver.get_many(timeout_s=10.0))
    buried = queue.delete()
    accepted = sum([int(await other.hear()) for other in others])
    await until(lambda: m.bus._endpoint.queues.closing(queue.index) == 0)
    late = len(m.take_dead_letters(100_000)) - buried
    assert accepted == got + buried + late and late >= 0
    for other in others:
        await other.end()


def test_all_that_was_accepted_beside_the_deletion_is_accounted_for() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        for _ in range(2):
            await delete_beside_senders(m)

    run(body)


def test_a_group_without_members_is_deleted_and_a_member_beside_it_joins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "_GRACE_S", 0.0)

    async def body(m: uf.UltraFastAgentManager) -> None:
        queues = m.bus._endpoint.queues

        def of_groups() -> list[int]:
            names = [(queues.name(index) or "", index) for index in range(queues.count)]
            return [index for name, index in names if name.startswith("group-")]

        member = m.subscribe("news.>", queue_group="readers")
        assert len(of_groups()) == 1
        assert await m.publish("news.1", "first")
        assert await m.publish("news.2", bytes(3000))
        assert (await member.next(10.0)).subject == "news.1"
        member.close()
        m.bus.tend_groups()
        m.bus.tend_groups()
        assert of_groups() == [] and "no_member" in {each.reason for each in m.dead_letters()}
        # A member that joined as the queue was deleted is one of the next queue.
        seen: list[str] = []
        iterated = m.subscribe("news.>", queue_group="others")
        called = m.subscribe("news.>", lambda got: seen.append(got.subject), queue_group="more")
        for each in of_groups():
            name = queues.name(each)
            assert name is not None
            queues.delete(*queues.enter(name))
        m.bus.tend_groups()
        with pytest.raises(TimeoutError):
            await iterated.next(0.5)
        for subject, payload in (("news.3", b"small"), ("news.4", bytes(3000))):
            assert await m.publish(subject, payload, timeout_s=10.0)
            assert (await iterated.next(10.0)).subject == subject
        await until(lambda: seen == ["news.3", "news.4"])
        iterated.close()
        called.close()

    run(body)
