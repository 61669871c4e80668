"""What is declared of namespaces over a restart: kept in snapshots, and said by the Config."""

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from library.snapshots import Kept, keeping
from library.storing import CONFIG
from ultrafast.core import Declared
from ultrafast.core._region import region_bytes
from ultrafast.settings import decode_config, encode_config
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore
from ultrafast.store.declarations import KEY, NAMESPACE

SAID = {"pages": (True, 60_000), "caf\u00e9": (False, 0), "timed": (False, 500)}


def _said(kept: Kept) -> dict[str, tuple[bool, int]]:
    declared = Declared(kept.table.region)
    found = {name: declared.of(name) for name in declared.names()}
    return {name: each[:2] for name, each in found.items() if each is not None}


def _declare(kept: Kept) -> None:
    store = UltraFastMemoryStore(kept.table)
    store.namespace("pages", cache=True)
    store.namespace("caf\u00e9", cache=True)
    kept.persistence.snapshot()
    store.namespace("pages", cache=True, ttl_s=60)  # said anew: the last holds
    store.namespace("caf\u00e9", cache=False)
    store.namespace("timed", ttl_s=0.5)
    kept.persistence.snapshot()


def test_a_start_from_snapshots_knows_what_was_declared(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        _declare(kept)
    for _ in range(2):  # what nobody says anew is kept once more
        with keeping(tmp_path) as kept:
            assert _said(kept) == SAID
            assert kept.persistence.report.namespaces == 3
            store = UltraFastMemoryStore(kept.table)
            for number in range(30_000):  # far more than there is room for
                store.set("pages", str(number), bytes(64))
            assert store.namespace_stats("pages").evicted
            for key in list(store.keys("pages")):
                store.delete("pages", key)
            before = kept.persistence.statistics()
            kept.persistence.snapshot()
            kept.persistence.snapshot()
            assert kept.persistence.statistics().snapshots <= before.snapshots + 1


def test_what_is_declared_survives_a_file_whose_structure_is_damaged(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        _declare(kept)
    file = tmp_path / "snapshot"
    data = bytearray(file.read_bytes())
    data[24 : 2 * 4096] = random.Random(1).randbytes(2 * 4096 - 24)  # both that say where all is
    file.write_bytes(data)
    with keeping(tmp_path) as kept:
        assert kept.persistence.report.structure is not None
        assert _said(kept) == SAID


def test_a_full_store_notes_it_when_it_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with keeping(tmp_path) as kept:
        store = UltraFastMemoryStore(kept.table)
        for nbytes in (900_000, 200_000, 10_000, 1_500, 300, 8):  # of every size of block
            number = 0
            while kept.table.set("full", f"{nbytes}-{number}", bytes(nbytes)):
                number += 1
        store.namespace("pages", cache=True)
        kept.persistence.snapshot()
        assert "no room to note" in caplog.text
        # All of it: that a store full to its last block is restored is another test's matter.
        for key in list(store.keys("full")):
            store.delete("full", key)
        kept.persistence.snapshot()
        kept.persistence.snapshot()
    with keeping(tmp_path) as kept:
        assert _said(kept) == {"pages": (True, 0)}


@pytest.mark.parametrize(
    "value",
    [7, "text", b"bytes", [1], {"pages": 3}, {"pages": {"cache": True}}, {"x" * 200: {}}]
    + [{"pages": {"cache": True, "ttl_ms": number}} for number in (-1, 1 << 60, 1 << 63, "x")]
    + [{"x" * 200: {"cache": True, "ttl_ms": 0}}],
)
def test_an_entry_of_anybodys_making_declares_nothing(
    tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with keeping(tmp_path) as kept:
        UltraFastMemoryStore(kept.table).set(NAMESPACE, KEY, value)
        kept.persistence.snapshot()
    with caplog.at_level(logging.ERROR), keeping(tmp_path) as kept:
        assert _said(kept) == {}
        assert kept.persistence.report.damaged_count == 0
        assert NAMESPACE in caplog.text


def test_the_most_namespaces_with_the_longest_names_fit_into_a_region() -> None:
    said = {f"{number:0192}": uf.NamespaceConfig(cache=True, ttl_s=1.5) for number in range(128)}
    config = uf.Config(namespaces=said)
    assert decode_config(encode_config(config)) == config
    assert len(encode_config(config)) <= region_sizes(config).settings_bytes
    assert region_bytes(region_sizes(CONFIG))


def test_a_system_declares_what_its_config_says(tmp_path: Path) -> None:
    asyncio.run(_systems(tmp_path))


async def _systems(tmp_path: Path) -> None:
    def config(**said: uf.NamespaceConfig) -> uf.Config:
        return uf.Config(
            workers=0,
            max_concurrent_agents=100,
            agent_pool=uf.AgentPoolConfig(pre_warm={}),
            memory_store_size=8 << 20,
            persist_path=str(tmp_path / "kept"),
            namespaces=said,
        )

    pages = uf.NamespaceConfig(cache=True, ttl_s=60)
    async with uf.UltraFastAgentManager(config(pages=pages)) as manager:
        store = manager.memory_store
        assert store.namespace_stats("pages").cache
        assert store.namespace_stats("pages").ttl_s == 60
        store.namespace("mine", ttl_s=5)
    async with uf.UltraFastAgentManager(config()) as manager:  # says nothing: as it was
        store = manager.memory_store
        assert store.namespace_stats("pages").cache
        assert store.namespace_stats("mine").ttl_s == 5
    async with uf.UltraFastAgentManager(config(pages=uf.NamespaceConfig())) as manager:
        store = manager.memory_store
        assert not store.namespace_stats("pages").cache
        assert store.namespace_stats("pages").ttl_s is None
        assert store.namespace_stats("mine").ttl_s == 5
