"""Counting: one agent sends another messages as fast as it takes them, and asks for their number.

Measures how fast a mailbox is filled and emptied. Savina's size: 1,000,000 messages.
"""

from __future__ import annotations

from common import WAIT_S, Clock, Found, check, command

import ultrafast as uf


class Producer(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> int:
        counter, count = message.body
        send = self.context.send
        for _ in range(count):
            # A full mailbox refuses; the sender tries again until its time is over.
            if not await send(counter, None, timeout_s=WAIT_S):
                raise RuntimeError(f"refused for {WAIT_S:g} s")
        return int(await self.context.request(counter, None, timeout_s=WAIT_S))


class Counter(uf.Agent):
    counted = 0

    def on_message(self, message: uf.IncomingMessage) -> int | None:
        if message.wants_answer:
            return self.counted
        self.counted += 1
        return None


async def measure(manager: uf.UltraFastAgentManager, count: int) -> Found:
    manager.register("producer", Producer)
    manager.register("counter", Counter)
    producer, counter = await manager.spawn_agent("producer"), await manager.spawn_agent("counter")
    clock = Clock()
    counted = await manager.request(None, producer, (counter, count), timeout_s=WAIT_S)
    passed_s = clock.passed_s()
    check("counted", counted, count)
    return Found(f"{count:,} messages counted", count, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=1_000_000, of="messages", agents=lambda size: 2)
