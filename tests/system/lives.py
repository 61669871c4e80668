"""Spawn and terminate agents by the thousand, and see whether they give everything back.

    python tests/system/lives.py --cycles 1000000

Lives are lived in rounds: most agents are plain, one in eight has all that an agent can have: a
name, groups, a kept state, timers, a subscription, a monitor, a task under way. Between rounds,
with no agent alive but the one that counts in the worker, manager and worker are counted: blocks of
Python's allocator, objects, tasks; and what they share: records, entries, blocks of messages and
values. Ends with 1 where any of these grew by more than a tenth of what one thing left behind by
each life would be, between the first third of the rounds and the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

import ultrafast as uf
from ultrafast import errors
from ultrafast.core._agents import FREE

__all__ = ["Outcome", "live", "main"]

ROUND = 400
PARTS = 8  # one in so many agents has all that there is
SLACK = 64  # blocks that a process may keep at hand, of each size
LONG_S = 3600.0


def counted() -> dict[str, int]:
    """What this process has."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "python blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "resident KiB": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    }


class Plain(uf.Agent):
    """Answers."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return message.body


class Counting(uf.Agent):
    """Counts what its worker has."""

    def on_message(self, message: uf.IncomingMessage) -> Any:
        return counted()


class Rich(uf.Agent):
    """Has all that an agent can have."""

    state_saved = "message"

    def on_start(self) -> None:
        self.context.subscribe("news.*", self.heard)
        self.every(LONG_S, self.tick)
        self.after(LONG_S, self.tick)
        self.tick()

    def heard(self, publication: Any) -> None:
        self.tick()

    def tick(self) -> None:
        self.state["ticks"] = self.state.get("ticks", 0) + 1

    def on_message(self, message: uf.IncomingMessage) -> Any:
        self.tick()
        return self.state["ticks"]

    async def execute(self, task: uf.Task) -> Any:
        await asyncio.sleep(LONG_S)


class Look(msgspec.Struct, frozen=True):
    """What there was between two rounds."""

    lives: int
    found: dict[str, int]


class Outcome(msgspec.Struct, frozen=True):
    """What the lives came to."""

    lives: int
    looks: list[Look]
    grown: list[str]


async def one_rich(m: uf.UltraFastAgentManager, number: int) -> None:
    """A life with everything in it."""
    agent = await m.spawn_agent("rich", name=f"rich-{number % 7}", groups=["all", "rich"])
    other = await m.spawn_agent("plain", affinity=agent)
    monitor = m.monitor(agent)
    m.monitor(other).close()
    task = uf.Task(id="t", objective="o", constraints=uf.Constraints(timeout_s=LONG_S))
    assert await m.request(None, agent, "hello", timeout_s=60) >= 2
    doing = asyncio.ensure_future(m.execute_task(agent, task))
    await asyncio.sleep(0)
    assert await m.terminate_agent(agent, drain=False, forget_state=True)
    assert await m.terminate_agent(other)
    try:
        await doing
    except (errors.TaskCalledOff, errors.AgentGone):
        pass
    assert (await monitor.wait(60)).how == "stopped"


async def one_round(m: uf.UltraFastAgentManager, number: int) -> int:
    """Many lives at a time: how many."""
    ids = await m.spawn_agents("plain", ROUND)
    assert await m.ping_agents(ids, timeout_s=60) == ROUND
    assert await m.send_message(None, ids[0], "for nobody to read")
    ends = await asyncio.gather(*(m.terminate_agent(each, timeout_s=60) for each in ids))
    assert all(ends)
    rich = ROUND // PARTS // 7
    for first in range(rich):
        at_once = range(7 * first, 7 * first + 7)
        await asyncio.gather(*(one_rich(m, each) for each in at_once))
    m.take_dead_letters()
    return ROUND + 14 * rich


async def look(m: uf.UltraFastAgentManager, counting: int, lives: int) -> Look:
    """Count in both processes, and what they share."""
    here = counted()
    there = await m.request(None, counting, None, timeout_s=60)
    found = {f"{name}, manager": number for name, number in here.items()}
    found |= {f"{name}, worker": number for name, number in there.items()}
    endpoint = m._endpoint
    tally = endpoint.agents.tally()
    found["records in use"] = int(tally.sum() - tally[:, FREE].sum())
    found["entries"] = (
        len(list(m.memory_store.keys("ultrafast.bus"))) + m.memory_store.stats().entries
    )
    for kind, blocks in (
        ("message", endpoint.queues.blocks()),
        ("value", endpoint.table.blocks()),
    ):
        found[f"{kind} blocks"] = sum(each.blocks - each.free for each in blocks)
    return Look(lives, found)


def judge(looks: list[Look]) -> list[str]:
    """What grew, in words: the first third is for what processes make once."""
    early = looks[len(looks) // 3]
    late = looks[-1]
    lives = late.lives - early.lives
    grown = []
    for name, before in early.found.items():
        after = late.found[name]
        if name.startswith("resident"):
            # 64 bytes a life, and what an allocator may take for good: seen in the long form.
            allowed = 4096 + lives * 64 // 1024
        elif name in ("records in use", "entries"):
            allowed = 0
        elif "python" in name or name.startswith("objects"):
            allowed = max(500, lives // 10)
        else:
            allowed = 12 * SLACK if "blocks" in name else 20
        if after > before + allowed:
            grown.append(
                f"{name}: {before:,} after {early.lives:,} lives, {after:,} after {late.lives:,}"
            )
    return grown


def live(cycles: int, looks: int = 6, *, quiet: bool = False) -> Outcome:
    """Live so many lives: what was seen."""

    async def body() -> Outcome:
        config = uf.Config(
            workers=1,
            max_concurrent_agents=2 * ROUND,
            enable_performance_monitoring=False,
            agent_pool=uf.AgentPoolConfig(pre_warm={}),
        )
        seen: list[Look] = []
        lives = number = 0
        async with uf.UltraFastAgentManager(config) as m:
            for name, cls in (("plain", Plain), ("rich", Rich), ("counting", Counting)):
                m.register(name, cls)
            counting = await m.spawn_agent("counting")
            began = time.monotonic()
            while lives < cycles:
                lives += await one_round(m, number)
                number += 1
                if lives >= cycles * (len(seen) + 1) // looks:
                    seen.append(await look(m, counting, lives))
                    if not quiet:
                        print(f"{time.monotonic() - began:7.1f} s {lives:9,} lives", flush=True)
                        print("   ", ", ".join(f"{n} {v:,}" for n, v in seen[-1].found.items()))
                        sys.stdout.flush()
        return Outcome(lives, seen, judge(seen))

    return asyncio.run(body())


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=30)
    given = parser.parse_args()
    outcome = live(given.cycles, given.looks)
    for each in outcome.grown:
        print("GREW", each)
    print(f"{outcome.lives:,} lives, {len(outcome.grown)} things grew")
    return 1 if outcome.grown else 0


if __name__ == "__main__":
    sys.exit(main())
