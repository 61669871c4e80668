"""Chameneos: 100 creatures meet in pairs at a mall, and change their colours when they do.

Measures contention for one mailbox. Savina's size: 200,000 meetings.
"""

from __future__ import annotations

from typing import Any

from common import Clock, Found, Reporting, Reports, check, command, post

import ultrafast as uf

CREATURES = 100
COLOURS = ("blue", "red", "yellow")


def complement(one: str, other: str) -> str:
    """The colour of both after they met: the same, or the third."""
    return one if one == other else next(each for each in COLOURS if each not in (one, other))


class Mall(Reporting):
    """Brings two together, so often; then sends all home and adds up how often each met."""

    left = 0
    waiting: int | None = None
    home = 0
    met = 0

    def on_message(self, message: uf.IncomingMessage) -> Any:
        what, value = message.body
        if what == "open":
            self.left, self.home, self.met = value, 0, 0
        elif what == "met":
            self.home += 1
            self.met += value
            if self.home == CREATURES:
                return self.report(self.met)
        elif not self.left:
            post(self, message.sender, ("go", None))
        elif self.waiting is None:
            self.waiting = message.sender
        else:
            self.left -= 1
            post(self, self.waiting, ("meet", (message.sender, value)))
            self.waiting = None
        return None


class Creature(uf.Agent):
    colour = ""
    mall = 0
    met = 0

    def on_message(self, message: uf.IncomingMessage) -> None:
        what, value = message.body
        if what == "begin":
            self.mall, self.colour = value
        elif what == "meet":
            other, colour = value
            self.met += 1
            self.colour = complement(self.colour, colour)
            post(self, other, ("change", self.colour))
        elif what == "change":
            self.met += 1
            self.colour = value
        else:
            post(self, self.mall, ("met", self.met))
            return
        post(self, self.mall, ("here", self.colour))


async def measure(manager: uf.UltraFastAgentManager, meetings: int) -> Found:
    manager.register("mall", Mall)
    manager.register("creature", Creature)
    mall = await manager.spawn_agent("mall")
    creatures = await manager.spawn_agents("creature", CREATURES)
    with Reports(manager) as reports:
        clock = Clock()
        await manager.send_message(None, mall, ("open", meetings))
        for number, each in enumerate(creatures):
            begin = ("begin", (mall, COLOURS[number % len(COLOURS)]))
            await manager.send_message(None, each, begin)
        met = await reports.next()
        passed_s = clock.passed_s()
    check("met", met, 2 * meetings)
    # Both say that they are there, one is told of the other, and tells it its colour.
    messages = 4 * meetings + 4 * CREATURES
    return Found(f"{meetings:,} meetings of {CREATURES} creatures", messages, passed_s)


if __name__ == "__main__":
    command(measure, about=__doc__, size=200_000, of="meetings", agents=lambda size: CREATURES + 1)
