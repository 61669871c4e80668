"""Where times are taken: small regions, and processes at the other end of something.

Each is a context manager that leaves nothing behind, also in /dev/shm.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

from ultrafast.core import Region, Sizes
from ultrafast.core.leftovers import region_path, remove_region

if TYPE_CHECKING:
    from ultrafast import UltraFastAgentManager

__all__ = ["SPAWN", "Passed", "peer", "region", "system"]

# A process with a region open must not be forked and go on using it, so peers start afresh.
SPAWN = multiprocessing.get_context("spawn")
_SMALL_BLOCKS = ((256, 8_192), (2_048, 1_024), (65_600, 256), (1_048_640, 8))


@contextmanager
def region(**sizes: Any) -> Iterator[Region]:
    """A region of this process's, removed at the end.

    Parameters
    ----------
    **sizes
        Fields of `Sizes` that matter to the benchmark; the others are small.
    """
    small: dict[str, Any] = {
        "owners": 8,
        "buckets": 1_024,
        "extensions": 256,
        "queues": 8,
        "queue_capacity": 1_024,
        "agents": 1_024,
        "shards": 2,
        "message_blocks": _SMALL_BLOCKS,
        "value_blocks": ((256, 4_096),),
    }
    path = region_path("/dev/shm", f"bench-{os.getpid()}-{os.urandom(3).hex()}")
    made = Region.create(path, Sizes(**{**small, **sizes}))
    try:
        yield made
    finally:
        made.close()
        remove_region(path)


def system(workers: int) -> UltraFastAgentManager:
    """A manager of a small system, to be entered with `async with`; nothing is warmed by itself."""
    # Not above: few benchmarks need it, and every peer imports this module.
    from ultrafast import AgentPoolConfig, Config, UltraFastAgentManager
    from ultrafast.config import MIB

    return UltraFastAgentManager(
        Config(
            workers=workers,
            max_concurrent_agents=6_000,
            shared_buffer_size=56 * MIB,
            message_pool_size=20_000,
            memory_store_size=8 * MIB,
            max_processes=16,
            agent_pool=AgentPoolConfig(pre_warm={}, dynamic_scaling=False),
            enable_performance_monitoring=False,  # it would report the load that we make
        )
    )


@contextmanager
def peer(target: Callable[..., None], *args: Any) -> Iterator[Any]:
    """Another process that runs `target(*args)`; killed if it does not end by itself."""
    process = SPAWN.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
        process.join(5)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        process.close()


class Passed:
    """A descriptor among the arguments of a peer, which gets a copy of its own as an int."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._fd),)


def _detached(passed: Any) -> int:
    return int(passed.detach())
