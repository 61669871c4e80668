"""Queue groups and slow subscribers, over real processes, some of them killed."""

import asyncio
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
from ultrafast.bus import groups
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

# A member until it is killed: writes each publication down before it is done with it, and is not
# done with any while a file "closed" is there.
MEMBER = """
import asyncio, os, sys
import ultrafast as uf

async def main(name, path, group, pattern, die_at):
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def handle(publication):
        os.write(log, b"%d %d\\n" % (publication.payload, publication.redelivered))
        if publication.payload == die_at:
            os.kill(os.getpid(), 9)
        await asyncio.sleep(0)
        while os.path.exists(os.path.join(os.path.dirname(path), "closed")):
            await asyncio.sleep(0.01)

    async with uf.attach(name) as client:
        client.subscribe(pattern, handle, queue_group=group)
        os.write(log, b"ready 0\\n")
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
"""


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], **config: Any) -> None:
    async def main() -> None:
        settings = {"workers": 0, "max_concurrent_agents": 100, **config}
        async with uf.UltraFastAgentManager(uf.Config(**settings)) as manager:
            await body(manager)

    asyncio.run(main())


def balance(manager: uf.UltraFastAgentManager) -> int:
    """Messages that were sent and are neither delivered, refused nor dead letters."""
    read = manager.metrics_counter
    ended = (Counter.DELIVERED, Counter.REFUSED, Counter.DEAD_LETTERED)
    return read(Counter.SENT) - sum(map(read, ended))


class Members:
    """Processes that are members, and what they wrote."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name, self._directory = name, directory
        self.processes: list[subprocess.Popen[bytes]] = []

    async def join(self, group: str, pattern: str, die_at: int = -1) -> None:
        path = self._directory / f"log-{len(self.processes)}"
        command = [sys.executable, "-c", MEMBER, self._name, str(path), group, pattern]
        self.processes.append(subprocess.Popen([*command, str(die_at)]))
        await until(lambda: path.exists() and "ready" in path.read_text())

    def got(self) -> list[tuple[int, int]]:
        lines = [
            line.split()
            for p in self._directory.glob("log-*")
            for line in p.read_text().split("\n")
        ]
        return [(int(words[0]), int(words[1])) for words in lines if words and words[0] != "ready"]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_one_member_of_each_group_and_every_plain_subscriber_gets_it(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        members = Members(m.name, tmp_path)
        try:
            await members.join("pair", "jobs.*")
            await members.join("pair", "jobs.>")
            here: list[Any] = []
            plain: list[Any] = []
            m.subscribe("jobs.*", lambda p: here.append(p.payload), queue_group="other")
            m.subscribe("jobs.*", lambda p: plain.append(p.payload))
            closed = tmp_path / "closed"
            closed.touch()
            for n in range(100):
                assert await m.publish("jobs.new", n)
            # None takes all: while one has its share and is not done with it, the other gets some.
            logs = [tmp_path / "log-0", tmp_path / "log-1"]
            await until(lambda: all(path.read_text().count("\n") > 1 for path in logs))
            closed.unlink()
            await until(lambda: len(here) >= 100 and len(members.got()) >= 100)
            await until(lambda: balance(m) == 0)
            await until(lambda: len(plain) >= 100)
            assert plain == list(range(100)) == sorted(here)
            assert Tally(n for n, _ in members.got()) == Tally(range(100))
            assert m.metrics_counter(Counter.SENT) == 200
        finally:
            members.end()

    run(body)


def test_what_a_killed_member_had_another_gets_marked(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        members = Members(m.name, tmp_path)
        try:
            await members.join("pair", "jobs", die_at=7)
            for n in range(20):
                assert await m.publish("jobs", n)
            await until(lambda: members.processes[0].poll() is not None)
            await members.join("pair", "jobs")
            await until(lambda: {n for n, _ in members.got()} == set(range(20)))
            await until(lambda: balance(m) == 0)
            # Never twice as new; marked is only what the dead member had taken.
            as_new = Tally(n for n, again in members.got() if not again)
            assert set(as_new.values()) == {1} and as_new[7] == 1
            again = {n for n, again in members.got() if again}
            assert 7 in again and len(again) <= 9
            assert m.dead_letters() == []
        finally:
            members.end()

    run(body)


def test_what_waits_for_a_group_without_members_becomes_dead_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_GRACE_S", 0.0)

    async def body(m: uf.UltraFastAgentManager) -> None:
        members = Members(m.name, tmp_path)
        try:
            await members.join("lonely", "jobs", die_at=0)
            for n in range(5):
                await m.publish("jobs", n)
            await until(lambda: m.metrics_counter(Counter.DEAD_LETTERED) > 0)
            await until(lambda: balance(m) == 0)
            letters = m.dead_letters()
            assert {letter.reason for letter in letters} == {"no_member"}
            assert [1, *[letter.body[1] for letter in letters]].count(0) == 1
            # Nobody is a member any more, so nobody is sent to.
            sent = m.metrics_counter(Counter.SENT)
            assert await m.publish("jobs", 5)
            assert m.metrics_counter(Counter.SENT) == sent
            # Sent again, it waits for a member.
            assert m.resend(letters[0])
            again = m.subscribe("jobs", queue_group="lonely")
            got = await again.next(30.0)
            assert (got.subject, got.payload) == ("jobs", letters[0].body[1])
        finally:
            members.end()

    run(body)


def test_members_iterate_and_leave_and_the_others_go_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        one = m.subscribe("jobs", queue_group="g")
        other = m.subscribe("jobs", queue_group="g")
        assert one.queue_group == "g"
        for n in range(6):
            assert await m.publish("jobs", n)
        assert [(await one.next(5.0)).payload for _ in range(2)] == [0, 1]
        one.close()
        one.close()
        # What it had not acknowledged comes last.
        assert [(await other.next(5.0)).payload for _ in range(5)] == [2, 3, 4, 5, 1]
        with pytest.raises(TimeoutError):
            await other.next(0.01)
        other.close()
        assert await m.publish("jobs", 6)
        assert balance(m) == 0
        with pytest.raises(errors.InvalidArgument, match="no name of a group"):
            m.subscribe("jobs", queue_group="")

    run(body)


def test_a_failing_member_is_counted_and_goes_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        got = []

        async def fails(publication: uf.Publication) -> None:
            await asyncio.sleep(0)
            if publication.payload == 1:
                raise ZeroDivisionError
            got.append(publication.payload)

        m.subscribe("jobs", fails, queue_group="g")
        for n in range(4):
            assert await m.publish("jobs", n)
        await until(lambda: balance(m) == 0)
        assert sorted(got) == [0, 2, 3]
        assert m.metrics_counter(Counter.FAILED) == 1

    run(body)


@pytest.mark.parametrize("when_full", ["drop-oldest", "dead-letter"])
def test_a_slow_iterator_loses_its_oldest_with_a_count(when_full: Any) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = m.subscribe("x", buffer=3, when_full=when_full)
        for n in range(5):
            assert await m.publish("x", n)
        await until(lambda: slow.received == 5)
        assert [(await slow.next(5.0)).payload for _ in range(3)] == [2, 3, 4]
        assert slow.dropped == 2 == m.metrics_counter(Counter.DROPPED)
        letters = m.dead_letters()
        if when_full == "dead-letter":
            assert [(e.reason, e.body) for e in letters] == [
                ("slow_consumer", ["x", 0]),
                ("slow_consumer", ["x", 1]),
            ]
            assert m.resend(letters[0])
            assert (await slow.next(5.0)).payload == 0
        else:
            assert letters == []
        assert balance(m) == 0

    run(body)


def test_a_slow_callback_keeps_the_newest() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        gate = asyncio.Event()
        got: list[int] = []

        async def slow(publication: uf.Publication) -> None:
            await gate.wait()
            got.append(publication.payload)

        subscription = m.subscribe("x", slow, buffer=2)
        for n in range(6):
            assert await m.publish("x", n)
        await until(lambda: subscription.received == 6)
        gate.set()
        await until(lambda: len(got) == 4)
        assert sorted(got) == [0, 1, 4, 5] and subscription.dropped == 2

    run(body, event_bus_workers=2)


def test_a_subscriber_that_blocks_holds_its_publisher_up() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        slow = m.subscribe("x", buffer=3, when_full="block")
        other: list[Any] = []
        m.subscribe("x", lambda p: other.append(p.payload))
        assert [await m.publish("x", n) for n in range(4)] == [True, True, True, False]
        waiting = asyncio.ensure_future(m.publish("x", 4, timeout_s=30.0))
        assert [(await slow.next(5.0)).payload for _ in range(3)] == [0, 1, 2]
        assert await waiting
        assert (await slow.next(5.0)).payload == 4
        await until(lambda: other == [0, 1, 2, 3, 4])
        slow.close()
        await until(lambda: m.bus.queue("x") is not None and balance(m) <= 1)
        with pytest.raises(errors.InvalidArgument, match="when_full is 'wait'"):
            m.subscribe("x", when_full="wait")  # type: ignore[arg-type]  # refused, which is tested

    run(body)


def test_an_expired_publication_is_a_dead_letter_where_somebody_wanted_it() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        plain = m.subscribe("x")
        member = m.subscribe("x", queue_group="g")
        publishing = asyncio.ensure_future(m.publish("x", 1, ttl_s=0.001))
        await until(publishing.done)
        assert publishing.result()
        with pytest.raises(TimeoutError):
            await member.next(0.05)
        got = plain.received
        assert m.metrics_counter(Counter.OVERDUE) == 2 - got
        assert {letter.reason for letter in m.dead_letters()} == {"expired"}
        assert balance(m) == 0

    run(body)
