"""An agent that keeps its loop from turning is named while it does; others are not."""

import asyncio
import time
from typing import Any

import pytest

import ultrafast as uf
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")


class Blocker(uf.Agent):
    """Sleeps for as long as it is told, in its loop or beside it."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        how, seconds = message.body
        if how == "beside":
            await asyncio.sleep(seconds)
        elif how == "later":
            await asyncio.sleep(0)
            self._deep(seconds)
        else:
            self._deep(seconds)
        return self.id

    def _deep(self, seconds: float) -> None:
        time.sleep(seconds)


class Asking(uf.Agent):
    """Asks another agent in a turn of its own, in which that is handled."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        await asyncio.sleep(0)
        whom, what = message.body
        return await self.context.request(whom, what, timeout_s=30.0)


class Innocent(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return message.body


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", ["at once", "later"])
def test_who_blocks_is_named_with_the_line_where_it_does(workers: int, how: str) -> None:
    async def main() -> None:
        config = uf.Config(workers=workers, max_concurrent_agents=50, blocking_warning_ms=50.0)
        manager = uf.UltraFastAgentManager(config)
        manager.register("blocker", Blocker)
        manager.register("innocent", Innocent)
        async with manager:
            innocents = await manager.spawn_agents("innocent", 5)
            blocker = await manager.spawn_agent("blocker")
            for each in innocents:
                assert await manager.request(None, each, 1, timeout_s=30.0) == 1
            told = asyncio.ensure_future(manager.events.wait_for("worker.blocked", 30))
            await asyncio.sleep(0)
            assert await manager.request(None, blocker, (how, 0.5), timeout_s=30.0) == blocker
            payload = (await told).payload
            assert payload["worker"] == 0
            assert payload["agent"] == blocker
            assert payload["type"] == "blocker"
            assert payload["blocked_ms"] >= 50.0
            first, *_, last = payload["stack"].splitlines()
            assert "in on_message" in first
            assert "time.sleep(seconds)" in last
            assert "in _deep" in payload["stack"]
            # It was said once, however long it took.
            assert manager.metrics_counter(Counter.BLOCKED) == 1
            assert manager.get_performance_metrics().counters["blocked"] == 1

    asyncio.run(main())


def test_who_waits_blocks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=50, blocking_warning_ms=50.0)
        manager = uf.UltraFastAgentManager(config)
        manager.register("blocker", Blocker)
        async with manager:
            blocker = await manager.spawn_agent("blocker")
            await manager.request(None, blocker, ("beside", 0.4), timeout_s=30.0)
            quiet = manager.metrics_counter(Counter.BLOCKED)
            # The same watch sees what does block.
            await manager.request(None, blocker, ("at once", 0.4), timeout_s=30.0)
            assert (quiet, manager.metrics_counter(Counter.BLOCKED)) == (0, 1)

    asyncio.run(main())
    assert caplog.text.count("has blocked the loop") == 1


def test_who_asks_one_that_blocks_is_not_blamed() -> None:
    async def main() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=50, blocking_warning_ms=50.0)
        manager = uf.UltraFastAgentManager(config)
        manager.register("blocker", Blocker)
        manager.register("asking", Asking)
        async with manager:
            blocker = await manager.spawn_agent("blocker")
            asking = await manager.spawn_agent("asking")
            told = asyncio.ensure_future(manager.events.wait_for("worker.blocked", 30))
            await asyncio.sleep(0)
            what = (blocker, ("at once", 0.5))
            assert await manager.request(None, asking, what, timeout_s=30.0) == blocker
            payload = (await told).payload
            assert (payload["agent"], payload["type"]) == (blocker, "blocker")
            assert "Asking" not in payload["stack"] and "context.request" not in payload["stack"]

    asyncio.run(main())


def test_nobody_is_watched_where_it_was_not_asked_for() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=50, blocking_warning_ms=0.0)
        manager = uf.UltraFastAgentManager(config)
        manager.register("blocker", Blocker)
        async with manager:
            blocker = await manager.spawn_agent("blocker")
            await manager.request(None, blocker, ("at once", 0.3), timeout_s=30.0)
            assert manager.metrics_counter(Counter.BLOCKED) == 0
            assert not manager.events.recent("worker.blocked")

    asyncio.run(main())


@pytest.mark.timeout(120)
def test_a_hung_worker_is_killed_and_its_death_names_who_hung_it() -> None:
    async def main() -> None:
        config = uf.Config(
            workers=1, max_concurrent_agents=50, worker_hang_timeout_s=1.0, max_redeliveries=0
        )
        manager = uf.UltraFastAgentManager(config)
        manager.register("blocker", Blocker)
        async with manager:
            blocker = await manager.spawn_agent("blocker")
            died = asyncio.ensure_future(manager.events.wait_for("worker.died", 60))
            await asyncio.sleep(0)
            assert await manager.send_message(None, blocker, ("at once", 60.0))
            reason = (await died).payload["reason"]
            assert "hung for" in reason
            assert f"agent {blocker:#x} (blocker)" in reason
            await manager.terminate_agent(blocker, drain=False)

    asyncio.run(main())
