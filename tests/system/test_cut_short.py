"""What `terminate_agent(drain=False)` ends: handlers that wait, timers that wait, and no thread."""

import asyncio
import threading
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

_LONG_S = 600.0


class Sleeper(uf.Agent):
    """Waits for what does not come, and says how that ended."""

    def on_start(self) -> None:
        if self.context.memory_store.get("t", "ticks"):
            self.after(0.01, self.tick)

    async def tick(self) -> None:
        await self._sleep("tick")

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "ready":
            return True
        if message.body == "twice":
            await asyncio.sleep(0)
        await self._sleep(message.body)

    async def _sleep(self, what: str) -> None:
        store = self.context.memory_store
        store.incr("begun", what)
        try:
            await asyncio.sleep(_LONG_S)
        except asyncio.CancelledError:
            store.incr("cancelled", what)
            if what != "stubborn":
                raise

    def on_stop(self) -> None:
        self.context.memory_store.incr("t", "stopped")


class Threaded(uf.Agent):
    """Is in a thread until another agent lets it go."""

    gate = threading.Event()

    @uf.in_thread
    def on_message(self, message: uf.IncomingMessage) -> Any:
        self.context.memory_store.incr("begun", "thread")
        return self.gate.wait(60)


class Opener(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        Threaded.gate.set()


def run(body: Any) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(
            uf.Config(workers=1, max_concurrent_agents=100)
        ) as manager:
            manager.register("sleeper", Sleeper)
            manager.register("several", Sleeper, concurrency=3)
            manager.register("threaded", Threaded)
            manager.register("opener", Opener)
            async with asyncio.timeout(60):
                await body(manager)

    asyncio.run(main())


async def until_begun(m: uf.UltraFastAgentManager, what: str, times: int = 1) -> None:
    while m.memory_store.get("begun", what, 0) < times:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("what", ["once", "twice"])
def test_a_handler_that_waits_is_cancelled_and_its_message_a_dead_letter(what: str) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("sleeper")
        asked = asyncio.ensure_future(m.request(None, agent, what, timeout_s=60))
        await until_begun(m, what)
        await m.send_message(None, agent, "next")
        while m._endpoint.agents.look(agent).depth < 1:  # until it waits in the agent's mailbox:
            await asyncio.sleep(0.005)  # on its way there, it would find the agent gone
        assert await m.terminate_agent(agent, drain=False)
        with pytest.raises(errors.AgentGone):
            await asked
        assert m.memory_store.get("cancelled", what) == m.memory_store.get("t", "stopped") == 1
        letters = m.take_dead_letters()
        assert sorted(each.body for each in letters) == sorted(["next", what])
        assert {each.reason for each in letters} == {"agent_stopped"}
        assert m.metrics_counter(Counter.FAILED) == 0

    run(body)


def test_one_told_to_stop_as_it_begins_is_cancelled_where_it_first_waits() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        for _ in range(20):
            agent = await m.spawn_agent("sleeper")
            await m.request(None, agent, "ready")
            assert m.bus.send_nowait(None, agent, "at once")
            assert await m.terminate_agent(agent, drain=False)
        # Those that were begun were cancelled; the others never began.
        store = m.memory_store
        assert store.get("begun", "at once", 0) == store.get("cancelled", "at once", 0)
        assert len(m.take_dead_letters()) == 20

    run(body)


def test_all_that_an_agent_does_at_a_time_ends_and_others_go_on() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        m.memory_store.set("t", "ticks", True)
        several = await m.spawn_agent("several")
        await until_begun(m, "tick")
        m.memory_store.delete("t", "ticks")
        other = await m.spawn_agent("sleeper")
        for agent in (several, several, other):
            assert m.bus.send_nowait(None, agent, "work")
        await until_begun(m, "work", 3)
        assert await m.terminate_agent(several, drain=False)
        store = m.memory_store
        assert (store.get("cancelled", "work"), store.get("cancelled", "tick")) == (2, 1)
        assert store.get("t", "stopped") == 1
        assert await m.terminate_agent(other, drain=False)
        assert store.get("cancelled", "work") == 3

    run(body)


def test_a_shutdown_cancels_what_waits_before_the_region_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        manager = uf.UltraFastAgentManager(uf.Config(workers=0, max_concurrent_agents=100))
        manager.register("sleeper", Sleeper)
        await manager.start()
        agent = await manager.spawn_agent("sleeper")
        assert manager.bus.send_nowait(None, agent, "work")
        await until_begun(manager, "work")
        await manager.shutdown(timeout_s=0.01)

    asyncio.run(main())
    assert "RegionClosed" not in caplog.text and "failed" not in caplog.text


def test_what_is_not_let_go_of_is_waited_for() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        stubborn = await m.spawn_agent("sleeper")
        asked = asyncio.ensure_future(m.request(None, stubborn, "stubborn", timeout_s=60))
        await until_begun(m, "stubborn")
        assert await m.terminate_agent(stubborn, drain=False)
        assert await asked is None  # it caught it, and came to its end
        threaded, opener = await m.spawn_agent("threaded"), await m.spawn_agent("opener")
        asked = asyncio.ensure_future(m.request(None, threaded, 1, timeout_s=60))
        await until_begun(m, "thread")
        with pytest.raises(TimeoutError):
            await m.terminate_agent(threaded, drain=False, timeout_s=0.05)
        assert m.bus.send_nowait(None, opener, "open")
        assert await asked is True
        assert m.take_dead_letters() == []

    run(body)
