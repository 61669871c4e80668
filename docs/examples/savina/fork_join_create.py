"""Fork Join (create): agents are begun, each does one small task, and ends.

Measures what an agent's life costs. Savina's size: 40,000 agents.
"""

from __future__ import annotations

import asyncio
import math

from common import WAIT_S, Clock, Found, check, command

import ultrafast as uf

_AT_ONCE = 1_000


class Worker(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> float:
        return math.sin(message.body) ** 2 + math.cos(message.body) ** 2


async def measure(manager: uf.UltraFastAgentManager, agents: int) -> Found:
    manager.register("worker", Worker)
    clock = Clock()
    answers: list[float] = []
    ended: list[bool] = []
    begun: set[int] = set()
    for first in range(0, agents, _AT_ONCE):
        ids = await manager.spawn_agents("worker", min(_AT_ONCE, agents - first))
        begun.update(ids)
        asks = (manager.request(None, each, each % 360, timeout_s=WAIT_S) for each in ids)
        answers += await asyncio.gather(*asks)
        ended += await asyncio.gather(*(manager.terminate_agent(each) for each in ids))
    passed_s = clock.passed_s()
    check("agents", len(begun), agents)
    check("right answers", sum(math.isclose(each, 1.0) for each in answers), agents)
    check("ended", sum(ended), agents)
    check("left", manager.statistics().agents.get("worker", {}), {})
    return Found(f"{agents:,} agents begun, asked and ended", agents, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=40_000, of="agents", agents=lambda size: 2 * _AT_ONCE)
