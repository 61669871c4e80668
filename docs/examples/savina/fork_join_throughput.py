"""Fork Join (throughput): 60 agents get many messages each, in turn, and do a little for each.

Measures how fast many mailboxes are filled and emptied. Savina's size: 10,000 messages each.
"""

from __future__ import annotations

import asyncio
import math

from common import WAIT_S, Clock, Found, check, command

import ultrafast as uf

AGENTS = 60


class Worker(uf.Agent):
    handled = 0
    total = 0.0

    def on_message(self, message: uf.IncomingMessage) -> int | None:
        if message.wants_answer:
            return self.handled
        self.handled += 1
        self.total += math.sin(message.body)
        return None


async def measure(manager: uf.UltraFastAgentManager, messages: int) -> Found:
    manager.register("fork-join-worker", Worker)
    agents = await manager.spawn_agents("fork-join-worker", AGENTS)
    clock = Clock()
    for number in range(messages):
        left = agents
        while left:
            accepted = await manager.send_messages(None, [(each, number) for each in left])
            left = [each for each, taken in zip(left, accepted, strict=True) if not taken]
            if left:
                await asyncio.sleep(0.0005)  # their mailboxes are full
    # An agent's question comes after its messages: one sender's arrive in order.
    asks = (manager.request(None, each, None, timeout_s=WAIT_S) for each in agents)
    handled = await asyncio.gather(*asks)
    passed_s = clock.passed_s()
    check("handled", handled, [messages] * AGENTS)
    return Found(f"{messages:,} messages to each of {AGENTS} agents", messages * AGENTS, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=10_000, of="messages an agent", agents=lambda size: AGENTS)
