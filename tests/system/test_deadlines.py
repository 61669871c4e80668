"""A task's time, and its end before that, from who asks through its agent to the model."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors
from ultrafast.agents.hosting.errands import Errands
from ultrafast.core import now_ns
from ultrafast.testing import Fault, LoopbackServer

pytestmark = pytest.mark.usefixtures("clean_shm")

LONG_S = 120.0  # no test waits for it


class Boss(uf.Agent):
    """Has another agent do its task, and would give it all the time of the world."""

    async def execute(self, task: uf.Task) -> Any:
        own = task.constraints.timeout_s
        inner = make("inner", timeout_s=LONG_S)
        try:
            return await self.context.execute_task(int(task.objective), inner)
        except errors.TaskTimeout:
            self.context.memory_store.set("t", "late", own)
            raise


class Dreamer(uf.Agent):
    """Says when its task is stopped."""

    async def execute(self, task: uf.Task) -> Any:
        self.context.memory_store.incr("t", "begun")
        try:
            await asyncio.sleep(LONG_S)
        finally:
            self.context.memory_store.incr("t", "stopped")

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return message.body


class Frail(Dreamer):
    """Fails when a handler raises."""


def make(name: str, timeout_s: float = LONG_S, objective: str = "o") -> uf.Task:
    constraints = uf.Constraints(timeout_s=timeout_s, cache=False, max_retries=0)
    return uf.Task(id=name, objective=objective, constraints=constraints)


def run(body: Callable[[uf.UltraFastAgentManager, LoopbackServer], Awaitable[None]]) -> None:
    with LoopbackServer() as server:

        async def main() -> None:
            config = uf.Config(
                workers=1,
                max_concurrent_agents=50,
                api_base_url=server.base_url,
                agent_pool=uf.AgentPoolConfig(pre_warm={"coder": 1}),
            )
            async with uf.UltraFastAgentManager(config, api_key="loopback") as m:
                m.register("boss", Boss)
                m.register("dreamer", Dreamer)
                m.register("frail", Frail, restart=uf.Restart(intensity=0, on_error="fail"))
                await body(m, server)

        asyncio.run(main())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def test_who_stops_waiting_ends_the_model_call_and_what_waits_behind_it() -> None:
    async def body(m: uf.UltraFastAgentManager, server: LoopbackServer) -> None:
        coder = await m.spawn_agent("coder")
        server.script(Fault(kind="slow", delay_s=LONG_S))
        first = asyncio.ensure_future(m.execute_task(coder, make("first")))
        # It counts a request before it has read it, and met the fault that was meant for it.
        await until(lambda: server.statistics().faults_waiting == 0)
        await until(lambda: server.statistics().in_flight == 1)
        second = asyncio.ensure_future(m.execute_task(coder, make("second")))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(each) for each in done] == [asyncio.CancelledError] * 2
        await until(lambda: server.statistics().in_flight == 0)
        result = await m.execute_task(coder, make("third"))
        assert result.ok
        # The second never came to the model: it was taken out of the mailbox.
        assert [each.status for each in server.requests()] == [499, 200]

    run(body)


def test_a_task_of_a_task_has_what_is_left_of_its_time() -> None:
    async def body(m: uf.UltraFastAgentManager, server: LoopbackServer) -> None:
        boss, coder = await m.spawn_agent("boss"), await m.spawn_agent("coder")
        assert (await m.execute_task(coder, make("first"))).ok  # its worker has a client now
        server.script(Fault(kind="slow", delay_s=LONG_S))
        task = make("outer", timeout_s=3.0, objective=str(coder))
        with pytest.raises(errors.TaskTimeout):
            await m.execute_task(boss, task)
        await until(lambda: server.statistics().in_flight == 0)
        assert [each.status for each in server.requests()] == [200, 499]
        assert 0.0 < m.memory_store.get("t", "late") <= 3.0
        # What waits for its agent uses its time up: the agent need not come to it.
        dreamer = await m.spawn_agent("dreamer")
        long = asyncio.ensure_future(m.execute_task(dreamer, make("long", timeout_s=3.0)))
        await until(lambda: m.memory_store.get("t", "begun") == 1)
        short = m.execute_task(dreamer, make("short", timeout_s=0.05))
        with pytest.raises(errors.TaskTimeout, match="did not come to it within"):
            await short
        with pytest.raises(errors.TaskTimeout, match="had not done it within"):
            await long
        assert m.memory_store.get("t", "begun") == m.memory_store.get("t", "stopped") == 1
        async with asyncio.timeout(60):  # its agent comes to it when the other's end is told
            while not m.dead_letters():
                await asyncio.sleep(0.01)
        assert [each.reason for each in m.dead_letters()] == ["expired"]

    run(body)


def test_an_agent_terminated_without_draining_stops_its_task() -> None:
    async def body(m: uf.UltraFastAgentManager, server: LoopbackServer) -> None:
        dreamer, frail = await m.spawn_agent("dreamer"), await m.spawn_agent("frail")
        first = asyncio.ensure_future(m.execute_task(dreamer, make("first")))
        second = asyncio.ensure_future(m.execute_task(dreamer, make("second")))
        await until(lambda: m.memory_store.get("t", "begun") == 1)
        assert await m.terminate_agent(dreamer, drain=False)
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(each) for each in done] == [errors.TaskCalledOff, errors.AgentGone]
        assert m.memory_store.get("t", "begun") == m.memory_store.get("t", "stopped") == 1
        # That nobody waits any more is no failure of the agent.
        third = asyncio.ensure_future(m.execute_task(frail, make("third")))
        await until(lambda: m.memory_store.get("t", "begun") == 2)
        third.cancel()
        await until(lambda: m.memory_store.get("t", "stopped") == 2)
        assert await m.request(None, frail, "alive", timeout_s=60) == "alive"

    run(body)


def test_a_task_that_the_loop_has_not_begun_can_be_called_off() -> None:
    async def main() -> None:
        errands = Errands()
        begun: list[uf.Task] = []
        asked: Any = SimpleNamespace(correlation=7, sent_ns=now_ns())
        doing = asyncio.ensure_future(errands.run(1, asked, make("t"), begun.append))
        errands.call_off_all(2, "another agent's")
        errands.call_off_all(1, "before its first step")
        with pytest.raises(errors.TaskCalledOff, match="before its first step"):
            await doing
        assert not begun and not errands.call_off(7, "again")

    asyncio.run(main())
