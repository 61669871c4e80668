"""A small region's settings, a clock that lags, an empty store. Stands on the store; no test."""

import time

from ultrafast.config import MIB, Config
from ultrafast.core import Region, Table
from ultrafast.store import UltraFastMemoryStore

__all__ = ["CONFIG", "Clock", "empty"]

CONFIG = Config(
    shared_buffer_size=16 * MIB,
    memory_store_size=4 * MIB,
    message_pool_size=200,
    max_concurrent_agents=10,
    max_processes=8,
    queue_capacity=16,
)


class Clock:
    """Wall clock that only the test moves; the region's own goes on."""

    def __init__(self) -> None:
        self.behind_s = 0.0

    def __call__(self) -> int:
        return time.time_ns() - int(self.behind_s * 1e9)


def empty(store: UltraFastMemoryStore, region: Region) -> None:
    for space, key in list(Table(region).keys()):
        store.delete(space, key)
    while len(store):
        assert store.sweep()
