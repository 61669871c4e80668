"""Events of any process reach the handlers of every other, and the system's life is among them."""

import asyncio
import os
import signal
from typing import Any

import pytest

import ultrafast as uf
from ultrafast.bus.events import Event

pytestmark = pytest.mark.usefixtures("clean_shm")


class Teller(uf.Agent):
    """Says what it gets, waits for an event when told, dies when told."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if message.body == "wait":
            return (await self.context.events.wait_for("asked.*", 30.0)).payload
        return await self.context.events.emit("told.me", message.body)


class Broken(uf.Agent):
    """Does not start."""

    def on_start(self) -> None:
        raise RuntimeError("no")


async def _until(events: list[Event], subject: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            for event in events:
                if event.subject == subject:
                    return event.payload
            await asyncio.sleep(0.01)


@pytest.mark.timeout(180)
def test_events_cross_processes_and_tell_of_the_systems_life() -> None:
    async def main() -> None:
        config = uf.Config(workers=1, max_concurrent_agents=50)
        here: list[Event] = []
        there: list[Event] = []
        manager = uf.UltraFastAgentManager(config)
        manager.register("teller", Teller)
        manager.register("broken", Broken)
        manager.events.on("told.*", here.append)  # before the start
        async with manager, uf.attach(manager.name) as client:
            client.events.on(">", there.append)
            teller = await manager.spawn_agent("teller")
            spawned = await _until(there, "agent.spawned")
            assert spawned == {"type": "teller", "agents": [teller]}
            assert await manager.request(None, teller, "hello") == 0
            assert await _until(here, "told.me") == "hello" == await _until(there, "told.me")
            waiting = asyncio.ensure_future(manager.request(None, teller, "wait", timeout_s=30.0))
            async with asyncio.timeout(30):
                while not waiting.done():
                    client.events.emit_soon("asked.you", 42)
                    await asyncio.sleep(0.02)
            assert waiting.result() == 42
            broken = await manager.spawn_agent("broken")
            failed = await _until(there, "agent.failed")
            assert failed == {"agent": broken, "error": "RuntimeError: no"}
            assert await manager.send_message(None, teller, "die")
            assert (await _until(there, "worker.died"))["reason"] == "signal 9"
            assert (await _until(there, "agent.restarted"))["agent"] == teller
            assert (await _until(there, "message.dead_lettered"))["reason"] == "poisonous"
            assert await manager.terminate_agent(teller)
            assert (await _until(there, "agent.terminated"))["agent"] == teller
            assert {e.subject for e in here} == {"told.me"}

    asyncio.run(main())
