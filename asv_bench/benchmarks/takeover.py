"""A worker is killed by SIGKILL at 10,000 agents: when its successor is there, and all answer.

`python -m benchmarks.takeover [ROUNDS]`, from asv_bench, prints one table; asv tracks the same.
All agents live in the one worker that is killed. Each round starts a system of its own, without and
with a spare worker in turns. Times run from the kill: to the worker's word that it has its inbox
and its agents, to the answer of an agent that was asked after the kill, and to the end of a roll
call that every agent answered, each asked where it sits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from ultrafast import Agent, AgentPoolConfig, Config, UltraFastAgentManager
from ultrafast.monitoring.metrics import memory_bytes
from ultrafast.validation.machine import machine_facts

from ._measure import quicker

_SPARES = (0, 1)
_ROUNDS = 5
_AGENTS = 10_000
_WAIT_S = 60.0


class Figures(NamedTuple):
    """Of one number of spares."""

    first_answer_s: float
    successor_ready_s: float
    all_answer_s: float
    spare_mb: float  # PSS of a spare before it was needed; without any, nothing


class Echo(Agent):
    """Answers."""

    def on_message(self, message: Any) -> Any:
        return message.body


async def _once(spares: int, agents: int) -> Figures:
    config = Config(
        workers=1,
        spare_workers=spares,
        max_concurrent_agents=agents + 100,
        agent_pool=AgentPoolConfig(pre_warm={}, dynamic_scaling=False),
        enable_performance_monitoring=False,  # it would report the death that we make
    )
    async with UltraFastAgentManager(config) as manager:
        manager.register("echo", Echo)
        ids = await manager.spawn_agents("echo", agents)
        if await manager.ping_agents(ids, timeout_s=_WAIT_S) != agents:
            raise RuntimeError("not every agent answered before the kill")
        async with asyncio.timeout(_WAIT_S):
            while len(manager.statistics().spares) < spares:
                await asyncio.sleep(0.05)
        await asyncio.sleep(2.0 * spares)  # it imports
        memory = memory_bytes(manager.statistics().spares, "")
        ready = asyncio.ensure_future(manager.events.wait_for("worker.started", _WAIT_S))
        await asyncio.sleep(0)
        began = perf_counter()

        async def taken(awaiting: Any) -> tuple[Any, float]:
            found = await awaiting
            return found, perf_counter() - began

        os.kill(manager.statistics().workers[0].pid, signal.SIGKILL)
        (_, first), (_, started), (answered, roll) = await asyncio.gather(
            taken(manager.request(None, ids[-1], b"x", timeout_s=_WAIT_S)),
            taken(ready),
            taken(manager.ping_agents(ids, timeout_s=_WAIT_S)),
        )
        if answered != agents:
            raise RuntimeError(f"{answered} of {agents} agents answered after the kill")
        return Figures(first, started, roll, memory / 1e6)


def _measured(rounds: int) -> dict[int, Figures]:
    """The medians of each figure over rounds, the numbers of spares in turns."""
    turns: dict[int, list[Figures]] = {each: [] for each in _SPARES}
    for _ in range(rounds):
        for spares, found in turns.items():
            found.append(asyncio.run(_once(spares, quicker(_AGENTS, 200))))
    return {
        each: Figures(*(median(column) for column in zip(*found, strict=True)))
        for each, found in turns.items()
    }


class Takeover:
    """A killed worker that hosted all agents."""

    params = (_SPARES, Figures._fields)
    param_names = ("spare_workers", "figure")
    timeout = 300

    def setup_cache(self) -> dict[int, Figures]:
        return _measured(quicker(_ROUNDS, 1))

    setup_cache.timeout = 300  # type: ignore[attr-defined]  # asv reads it off the function

    def track(self, found: dict[int, Figures], spares: int, figure: str) -> float:
        return float(getattr(found[spares], figure))


def main() -> None:
    """Print the table."""
    found = _measured(int(sys.argv[1]) if len(sys.argv) > 1 else quicker(_ROUNDS, 1))
    for name, value in msgspec.structs.asdict(machine_facts()).items():
        print(f"{name}: {value}")
    print(f"\n{'':20}" + "".join(f"{f'{spares} spares':>12}" for spares in found))
    for number, name in enumerate(Figures._fields):
        print(f"{name:20}" + "".join(f"{each[number]:>12.3f}" for each in found.values()))
    print(f"\nload after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
