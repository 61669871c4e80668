"""Agent records beside a dict of objects; messages to agents of another worker beside asyncio.

Messages on their way are bounded by receipts, one for many of them, so that no queue refuses one.
In company: a producer and a consumer with an `asyncio.Queue` in one process, in turns with the
agents, in the same run.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import ExitStack
from statistics import median
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any

from ultrafast import Agent, UltraFastAgentManager
from ultrafast.core import Agents, Queues
from ultrafast.core._agents import (
    ACTIVE,
    BUILDING,
    DRAINING,
    FREE,
    NO_LIMIT,
    STARTING,
    STOPPED,
    WARM,
)

from ._measure import Rival, Times, quicker, reports, run_rivals, summary
from ._places import region, system

_LIFE = """\
agent = new(kind, 0, 2, STARTING, NO_LIMIT, 0, 1)
move(agent, STARTING, ACTIVE)
move(agent, ACTIVE, DRAINING)
end(agent, DRAINING, STOPPED)
move(agent, STOPPED, FREE)
"""
_CLAIMED = """\
agent = new(kind, 0, 2, BUILDING, NO_LIMIT, 0, 1)
move(agent, BUILDING, WARM)
agent, worker = claim(kind, 2, 0, 1)
move(agent, STARTING, ACTIVE)
move(agent, ACTIVE, DRAINING)
end(agent, DRAINING, STOPPED)
move(agent, STOPPED, FREE)
"""
_OBJECT = """\
agent = next(ids)
agents[agent] = Record(kind=kind, worker=0, state=1)
agents[agent].state = 2
del agents[agent]
"""


@reports("ns", to_floor=True)
class Record:
    """`life` is a record's whole life in five calls, `claimed life` one of a warm agent in seven;
    `census` is what a keeper of pools asks; `tally` is one pass over all records. All but ten
    `records` are in use by others.
    """

    params = (
        (
            "life",
            "claimed life",
            "route",
            "look",
            "handled",
            "census",
            "tally",
            "life of an object in a dict",
        ),
        (1_000, 100_000),
    )
    param_names = ("call", "records")

    def setup_cache(self) -> dict[tuple[str, int], Times]:
        rivals: dict[tuple[str, int], Rival] = {}
        with ExitStack() as stack:
            for records in self.params[1]:
                agents = Agents(stack.enter_context(region(agents=records)))
                kind = agents.type("bench")
                for _ in range(records - 10):
                    used = agents.new(kind, 0, 2, STARTING, NO_LIMIT, 0, 1)
                    agents.move(used, STARTING, ACTIVE)
                for name, rival in _rivals(agents, kind, used).items():
                    rivals[name, records] = rival
            floor = Rival("noop(index)", {"noop": Queues(agents.region).noop, "index": 0})
            return run_rivals(rivals, floor=floor)


def _rivals(agents: Agents, kind: int, used: int) -> dict[str, Rival]:
    names = {
        "new": agents.new,
        "move": agents.move,
        "end": agents.end,
        "claim": agents.claim,
        "kind": kind,
        "NO_LIMIT": NO_LIMIT,
        "FREE": FREE,
        "BUILDING": BUILDING,
        "WARM": WARM,
        "STARTING": STARTING,
        "ACTIVE": ACTIVE,
        "DRAINING": DRAINING,
        "STOPPED": STOPPED,
    }
    things = {"ids": itertools.count(), "agents": {}, "Record": SimpleNamespace, "kind": kind}
    return {
        "life": Rival(_LIFE, names),
        "claimed life": Rival(_CLAIMED, names),
        "route": Rival("route(agent)", {"route": agents.route, "agent": used}),
        "look": Rival("look(agent)", {"look": agents.look, "agent": used}),
        "handled": Rival("handled(0, False, 1)", {"handled": agents.handled}),
        "census": Rival("census(kind)", {"census": agents.census, "kind": kind}),
        "tally": Rival("tally()", {"tally": agents.tally}),
        "life of an object in a dict": Rival(_OBJECT, things),
    }


@reports("ns")
class Claim:
    """From a pool of warm agents to a live one, as a spawner does it: a place, the claim, the place
    kept, ACTIVE. Two calls, timed each time; the clock's own time is in it.
    """

    params = ((1_000, 100_000),)
    param_names = ("records",)

    def setup_cache(self) -> dict[tuple[int], Times]:
        return {(records,): summary(_claims(records)) for records in self.params[0]}


def _claims(records: int) -> list[int]:
    times = []
    with region(agents=records) as opened:
        agents = Agents(opened)
        kind = agents.type("bench")
        pool = min(records // 2, 10_000)
        for _ in range(quicker(20, 1)):
            for _ in range(pool):
                agents.move(agents.new(kind, 0, 2, BUILDING, NO_LIMIT, 0, 1), BUILDING, WARM)
            claimed = []
            for _ in range(pool):
                start = perf_counter_ns()
                found = agents.spawn(kind, 2, 0, start)
                assert isinstance(found, tuple)
                agents.move(found[0], STARTING, ACTIVE)
                times.append(perf_counter_ns() - start)
                claimed.append(found[0])
            for agent in claimed:
                agents.move(agent, ACTIVE, DRAINING)
                agents.end(agent, DRAINING, STOPPED)
                agents.move(agent, STOPPED, FREE)
    return times


_BYTES = b"sixteen bytes ok"
_ON_THE_WAY = 4_096  # between all senders and receivers
_CHUNK = 256  # messages that one receipt is for
_PAIRS = 4
_ROUNDS = 5
_WAIT_S = 30.0


class Sending(Agent):
    """Sends to its partner as much as the partner's receipts allow."""

    def on_start(self) -> None:
        self.left = 0

    def on_message(self, message: Any) -> Any:
        body = message.body
        if body == b"":
            self._send(_CHUNK)
        elif body is None:
            return os.getpid()
        else:
            self.partner, self.left, self.by_batches = body
            self._send(_ON_THE_WAY // _PAIRS)
        return None

    def _send(self, most: int) -> None:
        count = min(most, self.left)
        self.left -= count
        context, partner = self.context, self.partner
        if self.by_batches:
            batch = [(partner, _BYTES)] * _CHUNK
            for _ in range(0, count, _CHUNK):
                assert all(context.send_many_nowait(batch))
        else:
            for _ in range(count):
                assert context.send_nowait(partner, _BYTES)


class Counting(Agent):
    """Counts what it gets, and sends the receipts."""

    def on_start(self) -> None:
        self.counted = self.latest_ns = 0

    def on_message(self, message: Any) -> Any:
        if message.body is None:
            return os.getpid(), self.counted, self.latest_ns
        self.counted += 1
        if self.counted % _CHUNK == 0:
            self.latest_ns = perf_counter_ns()
            assert self.context.send_nowait(message.sender, b"")
        return None


async def _pairs(manager: UltraFastAgentManager) -> list[tuple[int, int]]:
    """Senders, all in one worker, with receivers, all in the other."""
    manager.register("sending", Sending)
    manager.register("counting", Counting)
    spawned = [await manager.spawn_agents(name, 2 * _PAIRS) for name in ("sending", "counting")]
    senders: dict[int, list[int]] = {}
    for each in spawned[0]:
        senders.setdefault(await manager.request(None, each, None), []).append(each)
    home, sending = max(senders.items(), key=lambda those: len(those[1]))
    counting = [each for each in spawned[1] if (await manager.request(None, each, None))[0] != home]
    assert min(len(sending), len(counting)) >= _PAIRS, "agents are not spread over the workers"
    return list(zip(sending[:_PAIRS], counting[:_PAIRS], strict=True))


async def _counted(manager: UltraFastAgentManager, pairs: list[tuple[int, int]]) -> tuple[int, int]:
    """Messages handled, and when the latest was: one clock serves all processes."""
    answers = [await manager.request(None, each, None) for _, each in pairs]
    return sum(answer[1] for answer in answers), max(answer[2] for answer in answers)


async def _across_s(
    manager: UltraFastAgentManager, pairs: list[tuple[int, int]], each: int, *, by_batches: bool
) -> float:
    """From the first sender's start until the last message is handled."""
    assert each % _CHUNK == 0
    wanted = (await _counted(manager, pairs))[0] + each * len(pairs)
    began = perf_counter_ns()
    for sender, receiver in pairs:
        assert await manager.send_message(None, sender, (receiver, each, by_batches))
    until = time.monotonic() + _WAIT_S
    # Asked seldom: who asks takes time from those whom it asks.
    while (found := await _counted(manager, pairs))[0] < wanted:
        assert time.monotonic() < until, f"{wanted - found[0]} messages did not arrive"
        await asyncio.sleep(0.05)
    assert found[0] == wanted
    return (found[1] - began) / 1e9


async def _queue_s(count: int) -> float:
    queue: asyncio.Queue[bytes] = asyncio.Queue(_ON_THE_WAY)

    async def produce() -> None:
        for _ in range(count):
            await queue.put(_BYTES)

    began = perf_counter_ns()
    producing = asyncio.create_task(produce())
    for _ in range(count):
        assert await queue.get() == _BYTES
    await producing
    return (perf_counter_ns() - began) / 1e9


async def _rates() -> dict[str, float]:
    """Millions of messages a second: the medians over rounds."""
    each = quicker(100_096, 2_048)
    count = each * _PAIRS
    times: dict[str, list[float]] = {name: [] for name in AcrossWorkers.params[0]}
    async with system(2) as manager:
        pairs = await _pairs(manager)
        for _ in range(quicker(_ROUNDS, 1)):
            for name, took in times.items():
                if name == "queue of asyncio":
                    took.append(await _queue_s(count))
                else:
                    took.append(await _across_s(manager, pairs, each, by_batches=name == "batches"))
    return {name: count / median(took) / 1e6 for name, took in times.items()}


class AcrossWorkers:
    """Messages of 16 bytes from four agents in one worker, each to one of four in another."""

    params = (("one by one", "batches", "queue of asyncio"),)
    param_names = ("way",)
    timeout = 120

    def setup_cache(self) -> dict[str, float]:
        return asyncio.run(_rates())

    def track_rate(self, rates: dict[str, float], way: str) -> float:
        return rates[way]

    def track_ratio_to_queue(self, rates: dict[str, float], way: str) -> float:
        return rates[way] / rates["queue of asyncio"]

    track_rate.unit = "M messages/s"  # type: ignore[attr-defined]  # asv reads it off the function
    track_ratio_to_queue.unit = "x a queue of asyncio"  # type: ignore[attr-defined]  # the same
