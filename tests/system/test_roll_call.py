"""`ping_agents`: each agent is asked, whether it is free, busy, still starting, or gone."""

import asyncio
import os
import signal
from typing import Any

import pytest

import ultrafast as uf

pytestmark = pytest.mark.usefixtures("clean_shm")

MANY = 1_300  # several messages' worth for each of two workers


class Plain(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return os.getpid()


class Busy(uf.Agent):
    """Handles a message for so many seconds."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        await asyncio.sleep(message.body)


class SlowToStart(uf.Agent):
    async def on_start(self) -> None:
        await asyncio.sleep(0.05)

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return None


@pytest.mark.parametrize("workers", [0, 2])
def test_every_agent_answers_and_none_for_another(workers: int) -> None:
    async def main() -> None:
        config = uf.Config(workers=workers, max_concurrent_agents=MANY + 100)
        async with uf.UltraFastAgentManager(config) as m:
            for cls in (Plain, Busy, SlowToStart):
                m.register(cls.__name__.lower(), cls)
            ids = await m.spawn_agents("plain", MANY)
            assert await m.ping_agents(ids) == MANY
            assert await m.ping_agents() == MANY
            gone = ids[::100]
            for each in gone:
                assert await m.terminate_agent(each)
            assert await m.ping_agents(ids) == MANY - len(gone)
            assert await m.ping_agents([]) == 0
            slow = await m.spawn_agents("slowtostart", 20)
            assert await m.ping_agents(slow) == 20
            busy = await m.spawn_agents("busy", 4)
            for each, seconds in zip(busy, (0.05, 0.05, 60.0, 60.0), strict=True):
                # Before the roll call's own priority, so that they are busy when it comes.
                assert await m.send_message(None, each, seconds, priority="critical")
            # The two that are done in time, and no others; nobody waits behind the busy.
            assert await m.ping_agents([*busy, *slow], timeout_s=3.0) == 22
            await m.shutdown(timeout_s=0.1)

    asyncio.run(main())


def test_a_worker_that_dies_beneath_it_is_replaced_and_asked() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=MANY + 100)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("plain", Plain)
            ids = await m.spawn_agents("plain", MANY)
            pid = await m.request(None, ids[0], None)
            assert await m.ping_agents(ids) == MANY
            os.kill(pid, signal.SIGSTOP)
            asking = asyncio.create_task(m.ping_agents(ids, timeout_s=30.0))
            await asyncio.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            assert await asking == MANY

    asyncio.run(main())
