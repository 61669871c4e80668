"""Concurrent Dictionary: 20 agents read and write one dictionary, which is an agent; 10 % write.

Measures requests to a shared thing. Savina's size: 10,000 requests an agent.
"""

from __future__ import annotations

import asyncio
import random

from common import WAIT_S, Clock, Found, check, command

import ultrafast as uf

AGENTS = 20
KEYS = 512
WRITES_IN_A_HUNDRED = 10


class Dictionary(uf.Agent):
    """A key's value is ten times the key, so that whoever reads knows what may come."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.reads = self.writes = 0

    def on_message(self, message: uf.IncomingMessage) -> list[int] | int | None:
        what, key = message.body
        if what == "sums":
            return [self.reads, self.writes, len(self.values)]
        if what == "write":
            self.writes += 1
            self.values[key] = 10 * key
        else:
            self.reads += 1
        return self.values.get(key)


class User(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> list[int]:
        dictionary, requests, seed = message.body
        chance = random.Random(seed)
        written = set()
        for _ in range(requests):
            key = chance.randrange(KEYS)
            writes = chance.randrange(100) < WRITES_IN_A_HUNDRED
            what = ("write" if writes else "read", key)
            value = await self.context.request(dictionary, what, timeout_s=WAIT_S)
            if writes:
                written.add(key)
            if value != 10 * key and (value is not None or key in written):
                raise RuntimeError(f"key {key} has the value {value!r}")
        return sorted(written)


async def measure(manager: uf.UltraFastAgentManager, requests: int) -> Found:
    manager.register("dictionary", Dictionary)
    manager.register("user", User)
    dictionary = await manager.spawn_agent("dictionary")
    users = await manager.spawn_agents("user", AGENTS)
    clock = Clock()
    asks = (
        manager.request(None, each, (dictionary, requests, seed), timeout_s=WAIT_S)
        for seed, each in enumerate(users)
    )
    written = await asyncio.gather(*asks)
    passed_s = clock.passed_s()
    reads, writes, size = await manager.request(None, dictionary, ("sums", 0))
    check("requests", reads + writes, AGENTS * requests)
    check("keys", size, len(set().union(*written)))
    done = f"{requests:,} requests by each of {AGENTS} agents, {writes:,} of them writes"
    return Found(done, 2 * AGENTS * requests, passed_s)


if __name__ == "__main__":
    command(
        measure, about=__doc__, size=10_000, of="requests an agent", agents=lambda s: AGENTS + 1
    )
