"""Priorities by the order of arrival: floods of low ones, and the share promised to low ones."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf

pytestmark = pytest.mark.usefixtures("clean_shm")

# Of every sixteen messages that a receiver takes, at least one comes from each lower lane that is
# not empty: docs/how-to/choose-priorities-groups-and-back-pressure.md.
SHARE = 16
PATIENCE_S = 60.0


class Gate(uf.Agent):
    """Stands still, and its worker with it, until a file is there: meanwhile messages pile up."""

    def on_message(self, message: uf.IncomingMessage) -> None:
        Path(message.body + ".closed").touch()
        until = time.monotonic() + PATIENCE_S
        while not os.path.exists(message.body) and time.monotonic() < until:
            time.sleep(0.001)


class Log(uf.Agent):
    """Remembers what it got, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "seen":
            return self.seen
        self.seen.append(message.body)
        return None


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], workers: int = 1) -> None:
    async def main() -> None:
        config = uf.Config(workers=workers, max_concurrent_agents=50)
        async with uf.UltraFastAgentManager(config) as manager:
            manager.register("gate", Gate)
            manager.register("log", Log)
            await body(manager)

    asyncio.run(main())


async def behind_the_gate(
    manager: uf.UltraFastAgentManager, path: Path, sent: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Send these, by priority and number, while the worker stands still: the order of handling."""
    gate, log = await manager.spawn_agent("gate"), await manager.spawn_agent("log")
    assert await manager.ping_agents([gate, log]) == 2
    assert await manager.send_message(None, gate, str(path))
    async with asyncio.timeout(PATIENCE_S):
        while not Path(f"{path}.closed").exists():
            await asyncio.sleep(0.001)
    for priority, number in sent:
        assert await manager.send_message(None, log, [priority, number], priority=priority)
    path.touch()
    seen: list[list[Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < len(sent):
            seen = await manager.request(None, log, "seen", timeout_s=PATIENCE_S)
    return [(priority, number) for priority, number in seen]


@pytest.mark.parametrize("urgent", ["critical", "high", "normal"])
def test_a_flood_of_low_priority_does_not_delay_what_is_urgent(tmp_path: Path, urgent: str) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        flood = [("low", number) for number in range(3000)]
        few = [(urgent, number) for number in range(30)]
        seen = await behind_the_gate(m, tmp_path / "open", [*flood, *few])
        places = [place for place, each in enumerate(seen) if each[0] == urgent]
        assert [seen[place] for place in places] == few
        # All of them went before the flood, but for its promised share.
        assert places[-1] < len(few) + len(few) // (SHARE - 4) + 1
        assert [each for each in seen if each[0] == "low"] == flood

    run(body)


def test_a_flood_of_urgent_ones_leaves_each_lower_priority_its_share(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        flood = [("critical", number) for number in range(2000)]
        lower = ("high", "normal", "low")
        few = [(priority, number) for number in range(40) for priority in lower]
        seen = await behind_the_gate(m, tmp_path / "open", [*flood, *few])
        for priority in lower:
            places = [place for place, each in enumerate(seen) if each[0] == priority]
            assert [seen[place][1] for place in places] == list(range(40))
            gaps = [after - before for before, after in zip([-1, *places], places, strict=False)]
            assert max(gaps) <= SHARE
        # And no more than that: the flood is urgent.
        last = max(place for place, each in enumerate(seen) if each[0] != "critical")
        assert last > 40 * (SHARE - 4)

    run(body)


def test_a_queues_consumer_keeps_the_same_order(tmp_path: Path) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        queue = m.queue("work")
        for number in range(500):
            assert queue.put_nowait(["low", number], priority="low")
        for number in range(30):
            assert queue.put_nowait(["high", number], priority="high")
        async with m.consume("work", 1) as consumer:
            seen = [(await consumer.next(PATIENCE_S)).body for _ in range(530)]
        high = [place for place, each in enumerate(seen) if each[0] == "high"]
        assert len(high) == 30 and high[-1] < 30 + 30 // (SHARE - 4) + 1
        low = [place for place, each in enumerate(seen) if each[0] == "low"]
        assert low[0] < SHARE
        for places in (high, low):
            assert [seen[place][1] for place in places] == list(range(len(places)))

    run(body, workers=0)


def test_each_priority_has_its_own_room(tmp_path: Path) -> None:
    async def main() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=50, queue_capacity=64)
        async with uf.UltraFastAgentManager(config) as m:
            queue = m.queue("work")
            full = 0
            while queue.put_nowait(full, priority="low"):
                full += 1
            assert full == 64
            for priority in ("critical", "high", "normal"):
                assert queue.put_nowait(priority, priority=priority)
            assert not queue.put_nowait("more", priority="low")

    asyncio.run(main())
