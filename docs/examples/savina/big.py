"""Big: 120 agents each ping another one chosen by chance, and go on when its pong is there.

Measures many to many. Savina's size: 20,000 pings an agent; that takes minutes here, so a tenth
of it is the default.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from common import Clock, Found, Reporting, Reports, check, command, post

import ultrafast as uf

AGENTS = 120


class Neighbour(Reporting):
    def __init__(self) -> None:
        self.others: list[int] = []
        self.left = 0
        self.pings = 0
        self.chance = random.Random()

    def on_message(self, message: uf.IncomingMessage) -> Any:
        body = message.body
        if message.wants_answer:
            return self.pings
        if body == "ping":
            self.pings += 1
            post(self, message.sender, "pong")
            return None
        if body == "pong":
            self.left -= 1
            if not self.left:
                return self.report(self.id)
        else:
            self.others, self.left = body
            self.chance.seed(self.others.index(self.id))
        post(self, self.chance.choice(self.others), "ping")
        return None


async def measure(manager: uf.UltraFastAgentManager, pings: int) -> Found:
    manager.register("neighbour", Neighbour)
    agents = await manager.spawn_agents("neighbour", AGENTS)
    with Reports(manager) as reports:
        clock = Clock()
        for each in agents:
            await manager.send_message(None, each, (agents, pings))
        finished = [await reports.next() for _ in agents]
        passed_s = clock.passed_s()
    check("finished", sorted(finished), sorted(agents))
    got = await asyncio.gather(*(manager.request(None, each, None) for each in agents))
    check("pings", sum(got), AGENTS * pings)
    return Found(f"{pings:,} pings by each of {AGENTS} agents", 2 * AGENTS * pings, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=2_000, of="pings an agent", agents=lambda size: AGENTS)
