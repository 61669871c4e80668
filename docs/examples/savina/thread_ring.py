"""Thread Ring: a token goes round a ring of 100 agents, each of which takes one off it.

Measures messages where only one is under way. Savina's size: 100,000 hops.
"""

from __future__ import annotations

import asyncio
from typing import Any

from common import Clock, Found, Reporting, Reports, check, command, post

import ultrafast as uf

AGENTS = 100


class Member(Reporting):
    next = 0
    seen = 0

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.wants_answer:
            if message.body is None:
                return self.seen
            self.next = message.body
            return None
        self.seen += 1
        if message.body:
            post(self, self.next, message.body - 1)
            return None
        return self.report(self.id)


async def measure(manager: uf.UltraFastAgentManager, hops: int) -> Found:
    manager.register("member", Member)
    ring = await manager.spawn_agents("member", AGENTS)
    after = zip(ring, [*ring[1:], ring[0]], strict=True)
    await asyncio.gather(*(manager.request(None, one, other) for one, other in after))
    with Reports(manager) as reports:
        clock = Clock()
        await manager.send_message(None, ring[0], hops)
        last = await reports.next()
        passed_s = clock.passed_s()
    check("the last", last, ring[hops % AGENTS])
    seen = await asyncio.gather(*(manager.request(None, each, None) for each in ring))
    due = [(hops + AGENTS - place) // AGENTS for place in range(AGENTS)]
    check("seen", seen, due)
    return Found(f"{hops:,} hops in a ring of {AGENTS} agents", hops + 1, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=100_000, of="hops", agents=lambda size: AGENTS)
