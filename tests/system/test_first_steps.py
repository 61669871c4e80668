"""Handlers that are coroutines: begun at once, and the same to themselves as if they had a task."""

import asyncio
import contextvars
from typing import Any, ClassVar

import pytest

import ultrafast as uf
from ultrafast import errors

pytestmark = pytest.mark.usefixtures("clean_shm")

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


class Worker(uf.Agent):
    """Does what it is told by the name of a method."""

    log: ClassVar[list[Any]] = []

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        return await getattr(self, message.body[0])(*message.body[1:])

    async def at_once(self, value: Any) -> Any:
        return value

    async def wait(self, seconds: float) -> float:
        self.log.append(("begun", seconds))
        await asyncio.sleep(seconds)
        self.log.append(("ended", seconds))
        return seconds

    async def wait_for_all(self) -> None:
        self.log.append("begun")
        await Shared.gate.wait()
        self.log.append("ended")

    async def same_task(self) -> bool:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        between = asyncio.current_task()
        await asyncio.sleep(0.001)
        return before is not None and before is between is asyncio.current_task()

    async def limit(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(60)
        except TimeoutError:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            return f"over {task.cancelling() if task else None}"
        return "not over"

    async def group(self) -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(3)]
        return [task.result() for task in tasks]

    async def fail(self, after_a_wait: bool) -> None:
        if after_a_wait:
            await asyncio.sleep(0)
        raise ZeroDivisionError("as you wish")

    async def cancel_itself(self, wait: bool) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if wait:
            await asyncio.sleep(0.01)
        return "went on"

    async def mine(self, wait: bool) -> list[str]:
        before = whose.get()
        whose.set("the handler's")
        if wait:
            await asyncio.sleep(0.001)
        return [before, whose.get()]

    async def end(self, wait: float) -> str:
        self.context.end()
        await asyncio.sleep(wait)
        self.log.append("handled")
        return "ended"

    async def shared(self, future: list[Any]) -> str:
        return str(await Shared.future)

    def on_stop(self) -> None:
        self.log.append("stopped")


class Shared:
    future: asyncio.Future[str]
    gate: asyncio.Event


def one_loop(main: Any) -> None:
    async def run() -> None:
        Worker.log.clear()
        Shared.future = asyncio.get_running_loop().create_future()
        Shared.gate = asyncio.Event()
        config = uf.Config(workers=0, max_concurrent_agents=400, mailbox_capacity=100)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("worker", Worker)
            m.register("wide", Worker, concurrency=8)
            await asyncio.sleep(0)
            await main(m)
            await m.shutdown(timeout_s=0.1)

    asyncio.run(run())


def test_a_handler_that_waits_is_the_same_to_itself_before_and_after() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("worker")
        for _ in range(3):  # those of the first round use what is new, the others what was used
            assert await m.request(None, agent, ["at_once", {"a": [1]}]) == {"a": [1]}
            assert await m.request(None, agent, ["same_task"]) is True
            assert await m.request(None, agent, ["limit", 0.01]) == "over 0"
            assert await m.request(None, agent, ["limit", 0]) == "over 0"
            assert await m.request(None, agent, ["group"]) == [0, 1, 2]
            for wait in (False, True):
                own = await m.request(None, agent, ["mine", wait])
                assert own == ["nobody's", "the handler's"]
                with pytest.raises(errors.AgentError, match="as you wish"):
                    await m.request(None, agent, ["fail", wait])
            assert whose.get() == "nobody's"
            assert await m.request(None, agent, ["cancel_itself", False]) == "went on"
            with pytest.raises(errors.AgentError, match="the handler was cancelled"):
                await m.request(None, agent, ["cancel_itself", True])
            own_task = asyncio.current_task()
            await m.request(None, agent, ["at_once", None])
            assert asyncio.current_task() is own_task

    one_loop(main)


def test_messages_of_an_agent_take_turns_and_those_of_others_do_not_wait() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        async def together(agents: list[int]) -> None:
            """Ask them for what ends only when all have begun."""
            Worker.log.clear()
            Shared.gate.clear()
            asks = [m.request(None, each, ["wait_for_all"], timeout_s=60.0) for each in agents]
            asked = asyncio.gather(*asks)
            async with asyncio.timeout(60.0):
                while len(Worker.log) < len(agents):
                    await asyncio.sleep(0.001)
            Shared.gate.set()
            await asked
            assert Worker.log == [what for what in ("begun", "ended") for _ in agents]
            Worker.log.clear()

        agents = await m.spawn_agents("worker", 300)
        await together(agents)
        asks = [m.request(None, agents[0], ["wait", number / 1000]) for number in range(5)]
        assert await asyncio.gather(*asks) == [number / 1000 for number in range(5)]
        assert Worker.log == [
            (what, number / 1000) for number in range(5) for what in ("begun", "ended")
        ]
        wide = await m.spawn_agent("wide")
        await together([wide] * 8)

    one_loop(main)


def test_an_agent_that_ends_itself_in_its_first_step_ends_after_its_handler() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        for wait in (0.0, 0.02):
            agent = await m.spawn_agent("worker")
            assert await m.request(None, agent, ["end", wait]) == "ended"
            async with asyncio.timeout(60.0):
                while "stopped" not in Worker.log:
                    await asyncio.sleep(0.001)
            assert Worker.log == ["handled", "stopped"]
            Worker.log.clear()
            with pytest.raises(errors.AgentGone):
                await m.request(None, agent, ["at_once", 1])

    one_loop(main)


def test_many_may_wait_for_one_future_that_others_wait_for_too() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agents = await m.spawn_agents("worker", 20)
        outside = asyncio.create_task(asyncio.wait_for(asyncio.shield(Shared.future), 60.0))
        asks = [asyncio.create_task(m.request(None, each, ["shared", []])) for each in agents]
        await asyncio.sleep(0.02)
        Shared.future.set_result("all of you")
        assert await asyncio.gather(*asks, outside) == ["all of you"] * 21

    one_loop(main)


class Patient(uf.Agent):
    """Waits for the first, and for no other."""

    def on_start(self) -> None:
        self.heard: list[int] = []
        self.every(0.001, self.tick)

    async def tick(self) -> None:
        """Takes its turn between messages."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "wait":
            await asyncio.sleep(0.3)
        elif message.body != "all":
            self.heard.append(message.body)
        return self.heard if message.body == "all" else None


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_long_mailbox_of_coroutines_is_handled_one_after_the_other(concurrency: int) -> None:
    count = 5_000

    async def main() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=20, mailbox_capacity=2 * count)
        async with uf.UltraFastAgentManager(config) as manager:
            manager.register("patient", Patient, concurrency=concurrency)
            agent = await manager.spawn_agent("patient")
            for _ in range(concurrency):
                assert await manager.send_message(None, agent, "wait")
            for number in range(count):
                assert await manager.send_message(None, agent, number, timeout_s=30)
            heard = await manager.request(None, agent, "all", timeout_s=60)
            assert heard == list(range(count))

    asyncio.run(main())
