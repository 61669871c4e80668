"""Ping Pong: one agent sends another a message and waits for its answer, over and over.

Measures how long a message takes. Savina's size: 40,000 pings.
"""

from __future__ import annotations

from typing import Any

from common import Clock, Found, Reporting, Reports, check, command, post

import ultrafast as uf


class Ping(Reporting):
    left = 0
    pongs = 0

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if isinstance(message.body, dict):
            self.left, self.pongs = message.body["pings"], 0
            post(self, message.body["pong"], None)
            return None
        self.pongs += 1
        self.left -= 1
        if self.left:
            post(self, message.sender, None)
            return None
        return self.report(self.pongs)


class Pong(uf.Agent):
    pings = 0

    def on_message(self, message: uf.IncomingMessage) -> int | None:
        if message.wants_answer:
            return self.pings
        self.pings += 1
        post(self, message.sender, None)
        return None


async def measure(manager: uf.UltraFastAgentManager, pings: int) -> Found:
    manager.register("ping", Ping)
    manager.register("pong", Pong)
    ping, pong = await manager.spawn_agent("ping"), await manager.spawn_agent("pong")
    with Reports(manager) as reports:
        clock = Clock()
        await manager.send_message(None, ping, {"pings": pings, "pong": pong})
        pongs = await reports.next()
        passed_s = clock.passed_s()
    check("pongs", pongs, pings)
    check("pings", await manager.request(None, pong, None), pings)
    return Found(f"{pings:,} pings and as many pongs", 2 * pings, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=40_000, of="pings", agents=lambda size: 2)
