"""Where workers run and how long their loops look: `worker_affinity` by `loop_spin_us`, in turns.

`python -m benchmarks.placing [ROUNDS]`, from asv_bench, prints one table; asv tracks the same.
Two agents in two workers: requests one after the other, requests far between, one-way messages in
a flood, and what the workers' processors do for it. Each setting starts a system of its own in
each round.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

import msgspec

from ultrafast import Agent, AgentPoolConfig, Config, UltraFastAgentManager
from ultrafast.validation.machine import machine_facts

from ._measure import quicker

_SETTINGS = (("none", 0), ("spread", 0), ("none", 50), ("spread", 50))
_ROUNDS = 5
_TRIPS = 3_000
_PACED = 500
_FLOOD = 100_096
_CHUNK = 256
_WAIT_S = 30.0


class Figures(NamedTuple):
    """Of one setting."""

    trip_p50_us: float
    trip_p95_us: float
    trip_cpu_us: float  # of both workers, for one trip
    rare_p50_us: float  # a trip each two milliseconds
    rare_cpu_us: float
    flood_per_s: float
    idle_cpu: float  # of a processor, both workers, asked for nothing


_UNITS = ("us", "us", "us", "us", "us", "messages/s", "of a processor")


class Echo(Agent):
    """Answers, and counts what wants no answer."""

    def on_start(self) -> None:
        self.counted = self.latest_ns = 0

    def on_message(self, message: Any) -> Any:
        if message.body == b"pid":
            return os.getpid()
        if message.body == b"count":
            return self.counted, self.latest_ns
        if message.body == b"one way":
            self.counted += 1
            if self.counted % _CHUNK == 0:
                self.latest_ns = perf_counter_ns()
            return None
        return message.body


class Asking(Agent):
    """Sends requests and floods when told."""

    async def on_message(self, message: Any) -> Any:
        if message.body == "pid":
            return os.getpid()
        what, other, count, pause_s = message.body
        if what == "flood":
            return await self._flood(other, count)
        request, times = self.context.request, []
        for _ in range(count):
            if pause_s:
                await asyncio.sleep(pause_s)
            began = perf_counter_ns()
            await request(other, b"x", timeout_s=_WAIT_S)
            times.append(perf_counter_ns() - began)
        times.sort()
        return times[count // 2] / 1e3, times[count * 95 // 100] / 1e3

    async def _flood(self, other: int, count: int) -> float:
        """Messages a second that the other handled, from the first send on."""
        context = self.context
        batch = [(other, b"one way")] * _CHUNK
        began = perf_counter_ns()
        for _ in range(0, count, _CHUNK):
            waiting = batch
            while waiting:
                accepted = context.send_many_nowait(waiting)
                waiting = waiting[: len(accepted) - sum(accepted)]
                if waiting:
                    await asyncio.sleep(0)
        handled = latest = 0
        while handled < count:
            handled, latest = await context.request(other, b"count", timeout_s=_WAIT_S)
        return count / (latest - began) * 1e9


def _cpu_s(pids: list[int]) -> float:
    """Processor time of the processes so far, to the nanosecond that the scheduler keeps."""
    spent = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


async def _far(manager: UltraFastAgentManager) -> tuple[int, int]:
    """An asking agent and an echo, in different workers."""
    asking = await manager.spawn_agent("asking")
    home = await manager.request(None, asking, "pid")
    for _ in range(16):
        echo = await manager.spawn_agent("echo")
        if await manager.request(None, echo, b"pid") != home:
            return asking, echo
    raise RuntimeError("all agents are in one worker")


async def _once(affinity: str, spin_us: float) -> Figures:
    config = Config(
        workers=2,
        worker_affinity=affinity,
        loop_spin_us=spin_us,
        agent_pool=AgentPoolConfig(pre_warm={}, dynamic_scaling=False),
        enable_performance_monitoring=False,  # it would report the load that we make
    )
    async with UltraFastAgentManager(config) as manager:
        manager.register("echo", Echo)
        manager.register("asking", Asking)
        asking, echo = await _far(manager)
        pids = [worker.pid for worker in manager.statistics().workers]

        async def told(what: str, count: int, pause_s: float = 0.0) -> tuple[Any, float]:
            before = _cpu_s(pids)
            found = await manager.request(
                None, asking, (what, echo, count, pause_s), timeout_s=4 * _WAIT_S
            )
            return found, (_cpu_s(pids) - before) / count * 1e6

        await told("trips", 200)
        (p50, p95), busy = await told("trips", quicker(_TRIPS, 50))
        (rare, _), rare_cpu = await told("trips", quicker(_PACED, 10), 0.002)
        flood, _ = await told("flood", quicker(_FLOOD, 2_048))
        await asyncio.sleep(0.1)
        before, began = _cpu_s(pids), perf_counter_ns()
        await asyncio.sleep(quicker(500, 50) / 1e3)
        idle = (_cpu_s(pids) - before) / (perf_counter_ns() - began) * 1e9
    return Figures(p50, p95, busy, rare, rare_cpu, flood, idle)


def _measured(rounds: int) -> dict[tuple[str, int], Figures]:
    """The medians of each figure over rounds, the settings in turns."""
    turns: dict[tuple[str, int], list[Figures]] = {each: [] for each in _SETTINGS}
    for _ in range(rounds):
        for (affinity, spin_us), found in turns.items():
            found.append(asyncio.run(_once(affinity, spin_us)))
    return {
        each: Figures(*(median(column) for column in zip(*found, strict=True)))
        for each, found in turns.items()
    }


class Placing:
    """Two agents in two workers."""

    params = (("none", "spread"), (0, 50), Figures._fields)
    param_names = ("worker_affinity", "loop_spin_us", "figure")
    timeout = 300

    def setup_cache(self) -> dict[tuple[str, int], Figures]:
        return _measured(quicker(_ROUNDS, 1))

    setup_cache.timeout = 300  # type: ignore[attr-defined]  # asv reads it off the function

    def track(
        self, found: dict[tuple[str, int], Figures], affinity: str, spin_us: int, figure: str
    ) -> float:
        return float(getattr(found[affinity, spin_us], figure))


def main() -> None:
    """Print the table."""
    found = _measured(int(sys.argv[1]) if len(sys.argv) > 1 else quicker(_ROUNDS, 1))
    for name, value in msgspec.structs.asdict(machine_facts()).items():
        print(f"{name}: {value}")
    print(f"\n{'':16}" + "".join(f"{f'{a}, {s} us':>16}" for a, s in found))
    for number, (name, unit) in enumerate(zip(Figures._fields, _UNITS, strict=True)):
        row = "".join(f"{each[number]:>16,.2f}" for each in found.values())
        print(f"{name:16}{row}  {unit}")
    print(f"\nload after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
