"""Workers run where they are told, and a loop that looks before it sleeps loses nothing."""

import asyncio
import os
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors

pytestmark = pytest.mark.usefixtures("clean_shm")


class Where(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        return [message.body, sorted(os.sched_getaffinity(0))]


def test_workers_are_bound_and_say_so() -> None:
    last = max(os.sched_getaffinity(0))

    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=100, worker_affinity=[[last]])
        async with uf.UltraFastAgentManager(config) as m:
            m.register("where", Where)
            answer = await m.request(None, await m.spawn_agent("where"), 1)
            assert answer == [1, [last]]
            assert [worker.cpus for worker in m.statistics().workers] == [[last]]

    asyncio.run(main())


def test_a_processor_that_is_not_ours_is_said_at_the_start() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=100, worker_affinity=[[99_999]])
        async with uf.UltraFastAgentManager(config):
            pass

    with pytest.raises(errors.ConfigError, match="99999"):
        asyncio.run(main())


def test_a_looking_loop_answers_and_lets_others_run() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=100, loop_spin_us=2_000.0)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("where", Where)
            agent = await m.spawn_agent("where")
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            beside = asyncio.create_task(other())
            for n in range(300):
                assert (await m.request(None, agent, n))[0] == n
            beside.cancel()
            assert turns > 300
            await asyncio.sleep(0.05)  # both loops fall asleep, and are woken
            assert (await m.request(None, agent, "late"))[0] == "late"

    asyncio.run(main())
