"""What the Savina examples share: a command line, a system to run in, exact checks, one line out.

The benchmarks are those of S. Imam and V. Sarkar, "Savina - An Actor Benchmark Suite", AGERE! 2014.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

import ultrafast as uf

__all__ = ["WAIT_S", "Clock", "Found", "Reporting", "Reports", "check", "command", "post", "system"]

WAIT_S = 600.0
"""Whatever takes longer has failed."""
_DONE = "savina.done"


class Found(msgspec.Struct, frozen=True):
    """What a benchmark found.

    Parameters
    ----------
    done : str
        What was done, with numbers, all of them checked.
    messages : int
        That were handled for it.
    passed_s : float
        That it took.
    """

    done: str
    messages: int
    passed_s: float


class Reporting(uf.Agent):
    """An agent that can tell the one who began the benchmark, outside of any answer."""

    def report(self, found: Any) -> Awaitable[bool]:
        """To be returned from the handler or awaited in it."""
        return self.context.publish(_DONE, found, timeout_s=WAIT_S)


class Reports:
    """What agents report, from before the benchmark begins."""

    def __init__(self, manager: uf.UltraFastAgentManager) -> None:
        self._subscription = manager.subscribe(_DONE)

    async def next(self) -> Any:
        return (await self._subscription.next(WAIT_S)).payload

    def __enter__(self) -> Reports:
        return self

    def __exit__(self, *error: object) -> None:
        self._subscription.close()


def post(agent: uf.Agent, receiver: int, body: Any) -> None:
    """Send where the receiver's mailbox can't be full."""
    if not agent.context.send_nowait(receiver, body):
        raise RuntimeError(f"agent {receiver:#x} took no message")


def check(what: str, found: Any, due: Any) -> None:
    """End the benchmark when a result is not what it must be."""
    if found != due:
        raise RuntimeError(f"{what}: {found!r}, and {due!r} was due")


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def passed_s(self) -> float:
        return time.perf_counter() - self._start


def system(agents: int, workers: int | None) -> uf.UltraFastAgentManager:
    """A manager with room for so many agents."""
    return uf.UltraFastAgentManager(
        uf.Config(
            workers=workers,
            max_concurrent_agents=agents + 100,
            shared_buffer_size=(128 << 20) + agents * 2048,
            agent_pool=uf.AgentPoolConfig(pre_warm={}),
            enable_performance_monitoring=False,
        )
    )


def command(
    measure: Callable[[uf.UltraFastAgentManager, int], Awaitable[Found]],
    *,
    about: str | None,
    size: int,
    of: str,
    agents: Callable[[int], int],
) -> None:
    """Run a benchmark as its command line says, and print what it found.

    Parameters
    ----------
    measure : callable
        Given the manager and the size.
    about : str
        Its first line names the benchmark.
    size, of
        How large it is if not told, and what that counts.
    agents : callable
        Size -> agents at most.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=size, help=f"{of} (default {size})")
    parser.add_argument("--workers", type=int, help="0: all in this process (default: a core each)")
    given = parser.parse_args()
    if given.size < 1:
        parser.error("the size must be at least 1")

    async def run() -> Found:
        async with system(agents(given.size), given.workers) as manager:
            return await measure(manager, given.size)

    found = asyncio.run(run())
    name = (about or "").partition(":")[0]
    print(
        f"{name}: {found.done}; {found.passed_s:.2f} s, "
        f"{found.messages / found.passed_s:,.0f} messages/s"
    )
