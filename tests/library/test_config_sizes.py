"""What a region is made of: it fits what was asked for, uses it, and can really be made."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ultrafast.config import GIB, KIB, MIB, AgentPoolConfig, Config
from ultrafast.core import Region, region_bytes
from ultrafast.core.sizes import Sizes
from ultrafast.errors import ConfigError
from ultrafast.sizing import region_sizes

HEAD = 64
SMALL = Config(
    shared_buffer_size=16 * MIB,
    memory_store_size=4 * MIB,
    message_pool_size=1000,
    max_concurrent_agents=100,
    max_processes=4,
    queue_capacity=256,
)


def unused(config: Config, sizes: Sizes) -> int:
    return config.shared_buffer_size + config.memory_store_size - region_bytes(sizes)


def check(config: Config) -> Sizes:
    sizes = region_sizes(config)
    # Less than a block of 1 MiB and what rounding takes of the store is left over.
    assert 0 <= unused(config, sizes) < 1.1 * MIB + config.memory_store_size // 16
    assert sizes.agents > config.max_concurrent_agents
    assert sizes.owners == config.max_processes < sizes.queues
    assert sizes.queue_capacity == config.queue_capacity
    assert all(block % 64 == 0 and count >= 1 for block, count in sizes.message_blocks)
    assert all(block % 64 == 0 and count >= 1 for block, count in sizes.value_blocks)
    assert sum(count for _, count in sizes.message_blocks) >= config.message_pool_size
    assert sizes.message_blocks[-1][0] - HEAD >= MIB and sizes.message_blocks[-1][1] >= 8
    assert sizes.value_blocks[-1][0] - HEAD >= MIB + 1024
    return sizes


def test_defaults() -> None:
    sizes = check(Config())
    payloads = {block - HEAD: count for block, count in sizes.message_blocks}
    assert payloads[KIB] == 10_000 and payloads[4 * KIB] == 4250 and payloads[64 * KIB] == 250
    assert dict(sizes.message_blocks)[256] >= 35_000
    values = sum(count for _, count in sizes.value_blocks)
    assert values / sizes.buckets <= 2.61 and values > 80_000
    assert sizes.warm == 4096 and sizes.shards == 16 and sizes.types == 64


def test_a_million_agents() -> None:
    with pytest.raises(ConfigError) as caught:
        region_sizes(Config(max_concurrent_agents=1_000_000))
    text = str(caught.value)
    assert "max_concurrent_agents 9" in text  # MiB
    assert "shared_buffer_size is 128.0 MiB and 1" in text
    needed = int(text.split("at least ")[1].split(",")[0])
    assert needed > 128 * MIB
    config = Config(max_concurrent_agents=1_000_000, shared_buffer_size=needed)
    sizes = check(config)
    assert sizes.agents >= 1_000_000 and sizes.warm >= 1_000_000 // 16
    with pytest.raises(ConfigError):
        region_sizes(Config(max_concurrent_agents=1_000_000, shared_buffer_size=needed - 1))


def test_warm_agents_have_their_hints_and_records() -> None:
    config = Config(agent_pool=AgentPoolConfig(pre_warm={"a": 5000, "b": 2000}))
    sizes = check(config)
    assert sizes.warm >= 5000 and sizes.warm & (sizes.warm - 1) == 0
    assert sizes.agents >= config.max_concurrent_agents + 7000


@given(
    store=st.integers(4 * MIB, 64 * GIB),
    shared=st.integers(16 * MIB, 64 * GIB),
    messages=st.integers(100, 5_000_000),
    agents=st.integers(1, 3_000_000),
    processes=st.integers(2, 1022),
    capacity=st.integers(4, 16),
)
def test_any_settings_fit_or_are_refused(
    store: int, shared: int, messages: int, agents: int, processes: int, capacity: int
) -> None:
    config = Config(
        memory_store_size=store,
        shared_buffer_size=shared,
        message_pool_size=messages,
        max_concurrent_agents=agents,
        max_processes=processes,
        queue_capacity=1 << capacity,
    )
    try:
        region_sizes(config)
    except ConfigError:
        assume(False)
    check(config)


def test_a_region_of_these_sizes_can_be_made(tmp_path: Path) -> None:
    sizes = check(SMALL)
    path = tmp_path / "ultrafast-sizes"
    with Region.create(path, sizes) as region:
        assert region.bytes == path.stat().st_size == region_bytes(sizes)


def test_the_largest_settings_are_ones_that_the_core_takes() -> None:
    config = Config(
        memory_store_size=1024 * GIB,
        shared_buffer_size=1024 * GIB,
        message_pool_size=5_000_000,
        max_concurrent_agents=3_000_000,
        max_processes=1022,
        queue_capacity=1 << 20,
        agent_pool=AgentPoolConfig(pre_warm={"a": 3_000_000}),
    )
    sizes = region_sizes(config)
    assert region_bytes(sizes) <= 2048 * GIB
