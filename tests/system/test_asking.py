"""Requests within a process are answered in the asker's own turn: only the clock notices."""

import asyncio
import contextvars
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors

pytestmark = pytest.mark.usefixtures("clean_shm")

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


class Echo(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "whose":
            mine = whose.get()
            whose.set("the handler's")
            return mine
        if message.body == "fail":
            raise ZeroDivisionError("as you wish")
        return message.body


class Silent(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> Any:
        await asyncio.sleep(message.body)


class Chain(uf.Agent):
    """Asks the next one of the chain, and adds itself to what it says."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        others = message.body
        return [self.id, *(await self.context.request(others[0], others[1:]) if others else [])]


def one_loop(main: Any) -> None:
    async def run() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=300, mailbox_capacity=8)
        async with uf.UltraFastAgentManager(config) as m:
            for cls in (Echo, Silent, Chain):
                m.register(cls.__name__.lower(), cls)
            await main(m)
            await m.shutdown(timeout_s=0.1)

    asyncio.run(run())


def test_bodies_errors_and_contexts_stay_apart() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("echo")
        for body in (None, 0, "text", b"bytes", {"a": [1, 2]}, 1.5, True, [None]):
            assert await m.request(None, agent, body) == body
        with pytest.raises(errors.AgentError, match="ZeroDivisionError: as you wish"):
            await m.request(None, agent, "fail")
        whose.set("the asker's")
        assert await m.request(None, agent, "whose") == "nobody's"
        assert whose.get() == "the asker's"

    one_loop(main)


def test_an_asker_that_never_waits_lets_others_run() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("echo")
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        for number in range(5_000):
            assert await m.request(None, agent, number) == number
        assert turns > 5
        beside.cancel()

    one_loop(main)


def test_chains_of_agents_answer_and_times_end_alone() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        chain = await m.spawn_agents("chain", 100)
        assert await m.request(None, chain[0], chain[1:]) == chain
        silent = await m.spawn_agents("silent", 20)
        asked = [m.request(None, each, 60.0, timeout_s=0.05) for each in silent]
        patient = asyncio.create_task(m.request(None, await m.spawn_agent("silent"), 0.2))
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, TimeoutError) for each in ended)
        assert await patient is None
        for _ in range(8):  # the mailbox of one that is busy fills, and says so
            await m.send_message(None, silent[0], 0)
            await asyncio.sleep(0.01)  # out of the worker's queue, into its own
        with pytest.raises(errors.QueueFull):
            await m.request(None, silent[0], 0, timeout_s=0.05)

    one_loop(main)
