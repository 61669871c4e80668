"""An agent that was told to stop does, whoever told it and did not get to the end of it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from system.leaving import Keeper, config_of, leave, left_behind, workers_of
from system.waiting import until
from ultrafast import errors
from ultrafast.bus import outpost
from ultrafast.core._agents import ACTIVE, DRAINING
from ultrafast.core._status import OK
from ultrafast.core.leftovers import region_path
from ultrafast.metric_names import Counter

pytestmark = pytest.mark.usefixtures("clean_shm")

# Begins to end an agent as `terminate_agent` does, and dies after some of the markers.
KILLED = """
import asyncio, os, signal, sys
import ultrafast as uf

async def main():
    async with uf.attach(sys.argv[1]) as client:
        endpoint, left = client._endpoint, int(sys.argv[3])
        post = endpoint.post

        def some(*message, **more):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return post(*message, **more)

        endpoint.post = some
        await client.terminate_agent(int(sys.argv[2]))

asyncio.run(main())
"""


class Noting(uf.Agent):
    """Notes what it handled, and its end, where all can read it."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "where":
            return os.getpid()
        self.noted = getattr(self, "noted", 0) + 1
        self.context.memory_store.set("noted", f"{self.id:x}", self.noted)
        return self.noted

    def on_stop(self) -> None:
        self.context.memory_store.set("ended", f"{self.id:x}", os.getpid())


def run(body: Callable[[uf.UltraFastAgentManager], Awaitable[None]], workers: int = 1) -> None:
    async def main() -> None:
        config = uf.Config(workers=workers, max_concurrent_agents=50)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("noting", Noting)
            await body(m)

    asyncio.run(main())


def killed_amid(m: uf.UltraFastAgentManager, agent: int, markers: int) -> None:
    """Have another process begin to end an agent, and die after some markers."""
    command = [sys.executable, "-P", "-c", KILLED, m.name, str(agent), str(markers)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL


def state_of(m: Any, agent: int) -> int | None:
    info = m._endpoint.agents.look(agent)
    return None if info is None else info.state


@pytest.mark.parametrize("markers", [0, 3])
def test_who_ends_an_agent_is_killed_in_the_middle_of_it(markers: int) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent, other = await m.spawn_agents("noting", 2)
        assert await m.ping_agents() == 2
        for _ in range(20):
            assert m.bus.send_nowait(None, agent, 1)
        await asyncio.to_thread(killed_amid, m, agent, markers)
        await until(lambda: state_of(m, agent) is None)
        assert m.memory_store.get("noted", f"{agent:x}") == 20
        assert m.memory_store.get("ended", f"{agent:x}") is not None
        assert m.dead_letters() == [] and state_of(m, other) == ACTIVE
        assert m.metrics_counter(Counter.TERMINATED) == 1

    run(body)


def test_its_worker_dies_too_and_nobody_is_left_who_knows_of_it() -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("noting")
        pid = await m.request(None, agent, "where", timeout_s=60)
        assert m._endpoint.agents.move(agent, ACTIVE, DRAINING) == OK
        os.kill(pid, signal.SIGKILL)
        await until(lambda: state_of(m, agent) is None)
        assert m.memory_store.get("ended", f"{agent:x}") not in (None, pid)

    run(body)


@pytest.mark.parametrize("drain", [True, False])
def test_a_full_inbox_delays_an_end_and_does_not_call_it_off(
    monkeypatch: pytest.MonkeyPatch, drain: bool
) -> None:
    async def body(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("noting")
        assert await m.request(None, agent, 1, timeout_s=60) == 1
        with monkeypatch.context() as patch:
            patch.setattr(outpost.Outpost, "post", lambda *_, **__: False)
            with pytest.raises(errors.QueueFull, match="stops once its host hears of it"):
                await m.terminate_agent(agent, drain=drain, timeout_s=0.05)
            assert state_of(m, agent) == DRAINING
        await until(lambda: state_of(m, agent) is None)
        assert m.memory_store.get("ended", f"{agent:x}") is not None
        assert not await m.terminate_agent(agent)

    run(body)


def test_a_manager_that_adopts_ends_what_its_predecessor_was_about_to(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with left_behind(config):
        leave(tmp_path)

        async def main() -> None:
            path = region_path(config.region_path, config.name or "")
            async with uf.attach(path) as client:
                agent = client.lookup("k0") or 0
                assert client._endpoint.agents.move(agent, ACTIVE, DRAINING) == OK
            before = workers_of(config)
            manager = uf.UltraFastAgentManager(config)
            manager.register("keeper", Keeper)
            async with manager as m:
                assert m.adopted and workers_of(config) == before
                await until(lambda: state_of(m, agent) is None)
                assert m.memory_store.get("ended", f"{agent:x}") is not None

        asyncio.run(main())
