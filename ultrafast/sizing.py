"""From settings to what a region is made of: `region_sizes`.

Stands on the Config and on the core, which alone knows how many bytes a structure takes: here parts
are measured by asking it for regions that differ in that part. Decides shares and reserves; creates
nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ultrafast.config import KIB, MIB, Config
from ultrafast.core._region import region_bytes
from ultrafast.core.sizes import Sizes
from ultrafast.errors import ConfigError

__all__ = ["region_sizes"]

_HEAD = 64
_LARGEST_PAYLOAD = MIB
_KEY_ROOM = 1024 + 64  # the longest namespace and key, padded
_CLASS_MAX = (1 << 22) - 2
_BLOCKS = tuple[tuple[int, int], ...]

_LARGE_MIN = 8  # blocks with a payload of 1 MiB, at least
# Payload behind the head -> share of message_pool_size, in thousandths. The first has the rest.
_MESSAGES = ((192, 0), (KIB, 200), (4 * KIB, 85), (64 * KIB, 5))
# Block with its head -> share of the store's bytes, in hundredths.
_VALUES = (
    (192, 15),
    (512, 20),
    (2 * KIB, 20),
    (16 * KIB, 20),
    (256 * KIB, 15),
    (_HEAD + _KEY_ROOM + _LARGEST_PAYLOAD, 10),
)
_GROWTH = 4  # from one size of larger values to the next
_OWN_LARGEST_MAX = 16 * MIB  # that a store gives itself, from 32 times as many bytes on
_ASKED_SHARE, _OWN_SHARE = 10, 2  # of the store's bytes for each larger size, in hundredths
_LARGE_PERCENT = 60  # what larger sizes may take, with the fewest blocks that they can have

_AGENTS_MAX = 4_000_000  # of the core; a Config's limit leaves a quarter of it in reserve
_TYPES = 64
_SHARDS = 16
_OWN_QUEUES = 4  # dead letters, and room for a queue that is being replaced
_SETTINGS_BYTES = 64 * KIB
_BUCKETS_MIN, _BUCKETS_MAX = 1024, (1 << 30) - 1
_EXTENSIONS_MAX = (1 << 20) - 1
_ENTRIES_PER_BUCKET = 2.6  # of seven places: then one in a hundred buckets overflows


def region_sizes(config: Config) -> Sizes:
    """What a region for these settings holds.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Sizes
        The store within `memory_store_size`, all else within `shared_buffer_size`; what is left of
        the latter is blocks for large messages.

    Raises
    ------
    ConfigError
        They do not fit; the message says what takes how much and what to change.

    Notes
    -----
    Threads: pure. Waits: never.
    """
    values, buckets, extensions = _store(config)
    warm_agents = sum(config.agent_pool.pre_warm.values())
    warm = max([4096, config.max_concurrent_agents // 16, *config.agent_pool.pre_warm.values()])
    sizes = Sizes(
        owners=config.max_processes,
        buckets=buckets,
        extensions=extensions,
        queues=config.max_processes + config.max_named_queues + _OWN_QUEUES,
        queue_capacity=config.queue_capacity,
        # Besides the live: those that wait, twice while a pool is renewed, and those just ended.
        agents=min(
            _AGENTS_MAX,
            config.max_concurrent_agents
            + 2 * warm_agents
            + max(1024, config.max_concurrent_agents // 16),
        ),
        types=_TYPES,
        warm=1 << (warm - 1).bit_length(),
        shards=min(_SHARDS, config.max_processes),
        settings_bytes=_SETTINGS_BYTES,
        message_blocks=_messages(config.message_pool_size),
        value_blocks=values,
    )
    store_bytes = region_bytes(sizes) - region_bytes(_without(sizes, "store"))
    left = config.shared_buffer_size - (region_bytes(sizes) - store_bytes)
    if left < 0:
        raise _does_not_fit(config, sizes, -left)
    return _with_large(sizes, left)


def _store(config: Config) -> tuple[_BLOCKS, int, int]:
    """Value blocks, buckets and extensions that fill `memory_store_size`, or a little less."""
    index = 0
    while True:
        values = _values(config, config.memory_store_size - index)
        buckets, extensions = _table(sum(count for _, count in values))
        needed = (buckets + extensions) * 64 + extensions * 8 + 4 * KIB
        if needed <= index:
            return values, buckets, extensions
        index = needed  # fewer blocks next time, so no larger index: this ends


def _values(config: Config, budget: int) -> _BLOCKS:
    larger = _larger(config, budget)
    budget -= sum(block_bytes * count for block_bytes, count in larger)
    largest = _VALUES[-1][0]
    budget -= 64 * KIB  # the pool's bitmaps and alignment, for small stores
    large = max(1, min(_CLASS_MAX, budget * _VALUES[-1][1] // 100 // largest))
    rest = budget - large * largest
    shares = sum(share for _, share in _VALUES[:-1])
    classes: list[tuple[int, int]] = []
    carried = 0  # what a class did not need, for the next larger one
    for block_bytes, share in _VALUES[:-1]:
        mine = rest * share // shares + carried
        # A bit for each block marks it free.
        count = max(1, min(_CLASS_MAX, mine * 8 // (block_bytes * 8 + 1)))
        carried = mine - count * block_bytes - count // 8
        classes.append((block_bytes, count))
    last = (largest, min(_CLASS_MAX, large + max(0, carried) // largest))
    return (*classes, last, *larger)


def _larger(config: Config, budget: int) -> list[tuple[int, int]]:
    """Blocks for values of more than 1 MiB; of the largest two, so that one can be replaced."""
    asked = config.largest_value_bytes
    largest = asked or min(_OWN_LARGEST_MAX, config.memory_store_size // 32)
    payloads = []
    payload = _LARGEST_PAYLOAD * _GROWTH
    while payload < largest:
        payloads.append(payload)
        payload *= _GROWTH
    if asked > _LARGEST_PAYLOAD or payload == largest:
        payloads.append(largest)
    share = _ASKED_SHARE if asked else _OWN_SHARE
    sizes = [_HEAD + _KEY_ROOM + payload + -payload % 64 for payload in payloads]
    fewest = [1 + (size == sizes[-1]) for size in sizes]
    least = sum(size * count for size, count in zip(sizes, fewest, strict=True))
    if least * 100 > budget * _LARGE_PERCENT:
        needed = least * 100 // _LARGE_PERCENT
        needed += needed // 16 + MIB  # the index, of a store that is larger than this
        raise ConfigError(
            f"largest_value_bytes is {largest:,}: blocks for such values take {least:,} bytes, and "
            f"memory_store_size is {config.memory_store_size:,}; raise it to at least {needed:,}, "
            "or lower largest_value_bytes"
        )
    most = budget * _LARGE_PERCENT // 100
    blocks = [
        (size, max(count, min(budget * share // 100, most // len(sizes)) // size))
        for size, count in zip(sizes, fewest, strict=True)
    ]
    taken = sum(size * count for size, count in blocks)
    return blocks if taken <= most else list(zip(sizes, fewest, strict=True))


def _table(blocks: int) -> tuple[int, int]:
    buckets = min(_BUCKETS_MAX, max(_BUCKETS_MIN, int(blocks / _ENTRIES_PER_BUCKET) + 1))
    return buckets, min(_EXTENSIONS_MAX, buckets // 4)


def _messages(number: int) -> _BLOCKS:
    counts = [max(1, number * share // 1000) for _, share in _MESSAGES[1:]]
    first = max(1, number - sum(counts) - _LARGE_MIN)
    blocks = zip(_MESSAGES, [first, *counts], strict=True)
    return (
        *((_HEAD + payload, count) for (payload, _), count in blocks),
        (_HEAD + _LARGEST_PAYLOAD, _LARGE_MIN),
    )


def _with_large(sizes: Sizes, left: int) -> Sizes:
    """The same with as many more of the largest message blocks as `left` bytes hold."""
    largest, count = sizes.message_blocks[-1]
    # A page for bitmaps that grow by 128 bytes at a time.
    more = max(0, min(_CLASS_MAX - count, (left - 4 * KIB) * 8 // (largest * 8 + 1)))
    blocks = (*sizes.message_blocks[:-1], (largest, count + more))
    return msgspec.structs.replace(sizes, message_blocks=blocks)


def _without(sizes: Sizes, part: str) -> Sizes:
    """The same with next to nothing of one part."""
    nothing = ((128, 1),)
    least: dict[str, dict[str, Any]] = {
        "store": {"buckets": 1, "extensions": 0, "value_blocks": nothing},
        "message_pool_size": {"message_blocks": nothing},
        "max_concurrent_agents": {"agents": 1, "warm": 1},
        "queue_capacity x max_processes": {"queues": 1, "queue_capacity": 16},
        "metrics": {"shards": 1},
    }
    return msgspec.structs.replace(sizes, **least[part])


def _does_not_fit(config: Config, sizes: Sizes, missing: int) -> ConfigError:
    parts = ("message_pool_size", "max_concurrent_agents", "queue_capacity x max_processes")
    whole = region_bytes(sizes)
    takes = ", ".join(
        f"{part} {(whole - region_bytes(_without(sizes, part))) / MIB:.1f} MiB"
        for part in (*parts, "metrics")
    )
    needed = config.shared_buffer_size + missing
    return ConfigError(
        f"shared_buffer_size is {config.shared_buffer_size / MIB:.1f} MiB and "
        f"{needed / MIB:.1f} MiB are needed ({takes}); raise it to at least {needed}, or lower "
        f"one of {', '.join(parts)}"
    )
