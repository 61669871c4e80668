"""Spawning agents: warm, cold, by the hundred, and until the first answer.

`workers` 0 hosts the agents in this process; with 2 they live in two others. In company: what
Python starts to do work beside one's own, which answers through what it was given.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

from ultrafast import Agent, UltraFastAgentManager

from ._measure import Times, marked, quicker, reports, summary
from ._places import SPAWN, system

_ROUNDS = quicker(8, 1)
_WARM = 128
_EACH = 100  # spawns a round and kind; fewer than are warm
_BATCH = 100
_ANSWER_S = 30.0


class Answering(Agent):
    """Answers every message with its body."""

    async def on_message(self, message: Any) -> Any:
        return message.body


@reports("us")
class Spawn:
    """Per agent. `to answer` is from the call to the answer to a first message, each by itself."""

    params = (
        ("warm", "cold", "warm batch", "cold batch", "warm to answer", "cold to answer"),
        (0, 2),
    )
    param_names = ("how", "workers")

    @marked(timeout=300)
    def setup_cache(self) -> dict[tuple[str, int], Times]:
        found: dict[tuple[str, int], Times] = {}
        for workers in self.params[1]:
            for how, times in asyncio.run(_spawns(workers)).items():
                found[how, workers] = summary(times)
        return found


async def _spawns(workers: int) -> dict[str, list[int]]:
    times: dict[str, list[int]] = {how: [] for how in Spawn.params[0]}
    manager = system(workers)
    manager.register("warm", Answering, pre_warm=_WARM)
    manager.register("cold", Answering)
    async with manager:
        for _ in range(_ROUNDS):
            for how, kept in times.items():
                kind = how.split()[0]
                await _pools_full(manager)
                if how.endswith("batch"):
                    start = perf_counter_ns()
                    ids = await manager.spawn_agents(kind, _BATCH)
                    kept.append((perf_counter_ns() - start) // _BATCH)
                else:
                    ids = []
                    for _ in range(_EACH):
                        start = perf_counter_ns()
                        agent = await manager.spawn_agent(kind)
                        if how.endswith("answer"):
                            await manager.request(None, agent, 1, timeout_s=_ANSWER_S)
                        kept.append(perf_counter_ns() - start)
                        ids.append(agent)
                if await manager.ping_agents(ids, timeout_s=_ANSWER_S) != len(ids):
                    raise RuntimeError(f"of {len(ids)} agents spawned {how}, not all are alive")
                await asyncio.gather(*map(manager.terminate_agent, ids))
    return times


async def _pools_full(manager: UltraFastAgentManager) -> None:
    async with asyncio.timeout(_ANSWER_S):
        while any(pool.warm < pool.target for pool in manager.statistics().pools.values()):
            await asyncio.sleep(0.01)


@reports("us")
class Company:
    """Started, and its answer there: a task, a thread, a process that imports nothing of ours."""

    params = ("asyncio.create_task", "threading.Thread", "multiprocessing.Process")
    param_names = ("what",)

    def setup_cache(self) -> dict[tuple[str], Times]:
        return {(what,): summary(times) for what, times in asyncio.run(_company()).items()}


async def _company() -> dict[str, list[int]]:
    starts: dict[str, tuple[Callable[[], Awaitable[Any]], int]] = {
        "asyncio.create_task": (_task, quicker(1_000, 50)),
        "threading.Thread": (_thread, quicker(1_000, 50)),
        "multiprocessing.Process": (_process, quicker(20, 2)),
    }
    times: dict[str, list[int]] = {}
    for what, (begin, count) in starts.items():
        times[what] = []
        for _ in range(count):
            start = perf_counter_ns()
            await begin()
            times[what].append(perf_counter_ns() - start)
    return times


async def _task() -> None:
    answer: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(answer.put(1))
    await answer.get()
    await task


async def _thread() -> None:
    answer: queue.SimpleQueue[int] = queue.SimpleQueue()
    thread = threading.Thread(target=answer.put, args=(1,))
    thread.start()
    answer.get()
    thread.join()


async def _process() -> None:
    near, far = SPAWN.Pipe()
    process = SPAWN.Process(target=far.__class__.send, args=(far, 1))
    process.start()
    near.recv()
    process.join()
