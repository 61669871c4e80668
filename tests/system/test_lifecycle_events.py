"""Events of a system's life that need their own occasion, and the event bus over processes.

Those of agents, workers and dead letters are in `test_events_everywhere.py`. The table of all is
docs/reference/events.md, which `tests/house/test_events_table.py` holds to the code.
"""

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

import ultrafast as uf
from system.waiting import until
from ultrafast.bus.events import Event
from ultrafast.monitoring.validator import PerformanceValidator

pytestmark = pytest.mark.usefixtures("clean_shm")


class Crier(uf.Agent):
    """Emits what it is told, in a worker."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        for number in message.body:
            self.context.events.emit_soon("cry.loud" if number % 2 else "cry.soft", number)


class Busy(uf.Agent):
    """Says how many handlers of its worker's bus ran at once, when ten were wanted."""

    async def on_message(self, message: uf.IncomingMessage) -> int:
        now = most = 0

        async def handler(event: Event) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

        registrations = [self.context.events.on("busy.work", handler) for _ in range(10)]
        assert await self.context.events.emit("busy.work") == 10
        for registration in registrations:
            self.context.events.off(registration)
        return most


@pytest.mark.timeout(180)
def test_the_bus_does_for_events_of_other_processes_what_it_does_for_its_own() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=50, event_bus_workers=3)
        manager = uf.UltraFastAgentManager(config)
        manager.register("crier", Crier)
        manager.register("busy", Busy)
        async with manager, uf.attach(manager.name) as client:
            bus = client.events
            crier = await manager.spawn_agent("crier")
            order: list[Any] = []
            odd: list[int] = []
            single: list[int] = []
            ended: list[int] = []
            failing = bus.on("cry.*", lambda event: 1 // 0, priority=9)
            bus.on("cry.*", lambda event: order.append(("second", event.payload)), priority=1)
            bus.on("cry.*", lambda event: order.append(("first", event.payload)), priority=5)
            bus.on("cry.>", lambda e: odd.append(e.payload), filter=lambda e: e.payload % 2 == 1)
            bus.once("cry.soft", lambda e: single.append(e.payload), filter=lambda e: e.payload > 2)
            over = bus.on("cry.*", lambda event: ended.append(event.payload))
            waiting = asyncio.ensure_future(
                bus.wait_for("cry.soft", 60, filter=lambda event: event.payload == 4)
            )
            await asyncio.sleep(0)
            assert bus.off(over)
            assert await manager.send_message(None, crier, list(range(8)))
            await until(lambda: order[-1:] == [("second", 7)])
            assert (await waiting).payload == 4
            assert odd == [1, 3, 5, 7]
            assert single == [4]
            assert ended == []
            for number in range(8):  # of one event, the most urgent handler began first
                assert order.index(("first", number)) < order.index(("second", number))
            # One that fails is counted, and took nothing from the others.
            assert failing.failed == 8 and failing.handled == 0
            assert bus.statistics().delivered == 8
            late: list[int] = []
            bus.on("cry.*", lambda event: late.append(event.payload), replay=3)
            await until(lambda: len(late) == 3)
            assert late == [5, 6, 7]
            busy = await manager.spawn_agent("busy")
            assert await manager.request(None, busy, None, timeout_s=30.0) == 3

    asyncio.run(main())


def test_a_pool_that_grows_and_shrinks_says_so() -> None:
    async def main() -> None:
        pool = uf.AgentPoolConfig(pre_warm={"tester": 2})
        # Room for all that are asked for until the word of it has come.
        config = uf.Config(workers=1, max_concurrent_agents=5_000, agent_pool=pool)
        async with uf.UltraFastAgentManager(config) as manager, uf.attach(manager.name) as client:
            seen: list[Event] = []
            client.events.on("pool.*", seen.append)
            # Whoever refills may be quick: ask until the pool is found empty.
            while not seen:
                await manager.spawn_agents("tester", 2)
                await asyncio.sleep(0.02)
            assert seen[0].subject == "pool.scaled"
            first = seen[0].payload
            assert (first["type"], first["from"]) == ("tester", 2)
            assert 4 <= first["to"] <= 32
            assert first["forecast"] > 0.0
            before = len(seen)
            await until(lambda: len(seen) > before and seen[-1].payload["to"] == 2)
            assert seen[-1].payload["from"] > seen[-1].payload["to"]

    asyncio.run(main())


def test_an_alert_reaches_every_process() -> None:
    async def main() -> None:
        thresholds = uf.AlertThresholds(memory_usage_percent=0.1)
        config = uf.Config(
            workers=0,
            max_concurrent_agents=50,
            alert_thresholds=thresholds,
            performance_validation_interval_ms=50,
        )
        async with uf.UltraFastAgentManager(config) as manager, uf.attach(manager.name) as client:
            seen: list[Event] = []
            client.events.on("alert.*", seen.append)
            raised: list[Event] = []

            def is_of_memory(event: Event) -> bool:
                return bool(event.payload["name"] == "memory_usage_percent")

            def has_come() -> bool:  # a busy machine raises others
                raised[:] = filter(is_of_memory, manager.events.recent("alert.raised"))
                return bool(raised)

            await until(has_come)
            assert raised[0].payload["limit"] == 0.1 < raised[0].payload["value"]
            manager._validator._raised.clear()  # as if it had been well meanwhile
            await until(lambda: any(event.subject == "alert.raised" for event in seen))

    asyncio.run(main())


def test_an_alert_is_raised_once_and_cleared_once() -> None:
    said: list[tuple[str, Any]] = []
    summary = SimpleNamespace(p95_ms=None)
    reader: Any = SimpleNamespace(
        read=lambda window_s: SimpleNamespace(spawn_time=summary, communication_latency=summary)
    )
    quiet = uf.AlertThresholds(
        spawn_time_p95_ms=100.0, memory_usage_percent=100.0, cpu_usage_percent=100.0
    )
    config = uf.Config(alert_thresholds=quiet)
    validator = PerformanceValidator(
        reader, config, list, "/dev/null", lambda subject, payload: said.append((subject, payload))
    )
    for value in (None, 99.0, 100.0, 101.0, 150.0, 100.0, 99.0, 120.0):
        summary.p95_ms = value
        validator.check_alerts()
    of_spawns = [(s, p.get("value")) for s, p in said if p["name"] == "spawn_time_p95_ms"]
    assert of_spawns == [("alert.raised", 101.0), ("alert.cleared", None), ("alert.raised", 120.0)]
    limits = {p["name"]: p["limit"] for subject, p in said if subject == "alert.raised"}
    assert limits == {"spawn_time_p95_ms": 100.0, "communication_latency_p95_ms": 5.0}


@pytest.mark.timeout(180)
def test_what_a_dead_process_had_is_said_and_its_successor_too() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=50)
        manager = uf.UltraFastAgentManager(config)
        manager.register("crier", Crier)
        async with manager, uf.attach(manager.name) as client:
            await manager.spawn_agents("crier", 3)
            assert await manager.ping_agents() == 3
            seen: list[Event] = []
            client.events.on(">", seen.append)
            (worker,) = manager.statistics().workers
            os.kill(worker.pid, signal.SIGKILL)
            await until(lambda: any(event.subject == "worker.started" for event in seen))
            await until(lambda: sum(event.subject == "agent.restarted" for event in seen) == 3)
            told = {event.subject: event.payload for event in seen}
            assert told["process.recovered"]["slot"] == worker.slot
            assert told["worker.died"] == {"worker": 0, "reason": "signal 9"}
            assert told["worker.started"] == {"worker": 0, "restored": 3}

    asyncio.run(main())
