"""The store over the end of a system: snapshots, and regions that outlive those who made them."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors

SMALL: dict[str, Any] = {
    "workers": 1,
    "max_concurrent_agents": 100,
    "agent_pool": uf.AgentPoolConfig(pre_warm={}),
    "memory_store_size": 8 << 20,
}
# A system that is killed: says when it is there, then only writes.
SYSTEM = """
import asyncio, sys
import ultrafast as uf

async def main():
    config = uf.Config.from_toml(sys.argv[1])
    async with uf.UltraFastAgentManager(config) as manager:
        manager.memory_store.set("s", "number", 42)
        manager.memory_store.set("s", "words", ["a", "b"])
        agent = await manager.spawn_agent("coder")
        manager.memory_store.set("s", "agent", agent)
        assert await manager.ping_agents([agent], timeout_s=30) == 1
        print("there", flush=True)
        while True:
            await asyncio.sleep(1)

asyncio.run(main())
"""


def _toml(folder: Path, **more: str) -> tuple[Path, uf.Config]:
    (folder / "shm").mkdir(exist_ok=True)
    lines = [
        'name = "durable"',
        f'region_path = "{folder}/shm"',
        "workers = 1",
        "max_concurrent_agents = 100",
        'memory_store_size = "8MiB"',
        *(f"{key} = {value}" for key, value in more.items()),
        "[agent_pool.pre_warm]",
    ]
    path = folder / "system.toml"
    path.write_text("\n".join(lines) + "\n")
    return path, uf.Config.from_toml(path)


def _killed(toml: Path, *, whole: bool) -> None:
    """Start a system, and kill its manager, or all of it, once it is there."""
    system = subprocess.Popen(
        [sys.executable, "-P", "-c", SYSTEM, str(toml)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert system.stdout is not None
    assert system.stdout.readline() == b"there\n"
    if whole:
        os.killpg(system.pid, signal.SIGKILL)
    else:
        system.kill()
    system.wait()
    system.stdout.close()


@pytest.mark.parametrize("whole", [True, False])
def test_a_region_on_a_disk_is_adopted_after_a_kill(tmp_path: Path, whole: bool) -> None:
    toml, config = _toml(tmp_path)
    _killed(toml, whole=whole)

    async def main() -> None:
        async with uf.UltraFastAgentManager(config) as manager:
            kept = manager.memory_store
            assert kept.get("s", "number") == 42
            assert kept.get("s", "words") == ["a", "b"]
            # Workers that outlive their manager stop their agents before they end.
            alive = await manager.ping_agents([kept.get("s", "agent")], timeout_s=30)
            assert alive == int(whole)
            kept.set("s", "number", 43)
            with pytest.raises(errors.RegionExists, match="is running"):
                await uf.UltraFastAgentManager(config).start()
            assert kept.get("s", "number") == 43
        async with uf.UltraFastAgentManager(config) as manager:
            assert manager.memory_store.get("s", "number") is None  # it ended in order

    asyncio.run(main())
    assert os.listdir(tmp_path / "shm") == []


def test_a_region_of_other_settings_or_another_boot_is_not_adopted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrafast.agents.processes import adoption
    from ultrafast.core import leftovers

    toml, _ = _toml(tmp_path)
    _killed(toml, whole=True)
    _, other = _toml(tmp_path, mailbox_capacity="7")

    async def number(config: uf.Config) -> Any:
        async with uf.UltraFastAgentManager(config) as manager:
            return manager.memory_store.get("s", "number")

    assert asyncio.run(number(other)) is None
    assert "other settings" in caplog.text
    toml, config = _toml(tmp_path)
    _killed(toml, whole=True)
    for module in (leftovers, adoption):
        monkeypatch.setattr(module, "adoptable_mark", lambda: b"\xc1" + b"x" * 67)
    assert asyncio.run(number(config)) is None


def test_entries_outlive_the_system_by_its_snapshots(tmp_path: Path) -> None:
    config = uf.Config(**SMALL, persist_path=str(tmp_path / "snapshot"), snapshot_interval_ms=20)
    seen: list[Any] = []

    async def first() -> None:
        async with uf.UltraFastAgentManager(config) as manager:
            manager.events.on("snapshot.*", lambda event: seen.append(event))
            assert manager.persistence is not None
            assert manager.persistence.report.entries == 0
            manager.memory_store.set("s", "a", {"n": 1})
            manager.memory_store.set("s", "gone", 1)
            while manager.persistence.statistics().snapshots < 1:
                await asyncio.sleep(0.01)
            manager.memory_store.delete("s", "gone")
            done = await manager.snapshot()
            assert done.segments >= 1
            while not seen:
                await asyncio.sleep(0.01)
            manager.memory_store.set("s", "late", 2)

    async def second() -> None:
        async with uf.UltraFastAgentManager(config) as manager:
            assert dict(manager.memory_store.items("s")) == {"a": {"n": 1}, "late": 2}
            with pytest.raises(errors.SnapshotInUse):
                await uf.UltraFastAgentManager(config).start()

    asyncio.run(first())
    assert seen[0].subject == "snapshot.done"
    asyncio.run(second())


def test_without_a_path_no_snapshot_is_made(clean_shm: None) -> None:
    async def main() -> None:
        async with uf.UltraFastAgentManager(uf.Config(**SMALL)) as manager:
            assert manager.persistence is None
            with pytest.raises(errors.InvalidArgument, match="persist_path"):
                await manager.snapshot()

    asyncio.run(main())


def test_a_foreign_file_keeps_a_system_from_starting_and_is_left_alone(
    tmp_path: Path, clean_shm: None
) -> None:
    path = tmp_path / "precious"
    path.write_text("words " * 5000)

    async def main() -> None:
        with pytest.raises(errors.SnapshotForeign, match="precious"):
            await uf.UltraFastAgentManager(uf.Config(**SMALL, persist_path=str(path))).start()

    asyncio.run(main())
    assert path.read_text() == "words " * 5000


def test_a_fork_leaves_the_parents_snapshots_alone(tmp_path: Path) -> None:
    config = uf.Config(**SMALL | {"workers": 0}, persist_path=str(tmp_path / "snapshot"))

    async def main() -> None:
        manager = uf.UltraFastAgentManager(config)
        await manager.start()
        child = os.fork()
        if child == 0:
            try:
                await manager.shutdown()
                os._exit(0)
            except Exception:  # noqa: BLE001 - a child of pytest must not go on as one
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        manager.memory_store.set("s", "a", 1)
        assert (await manager.snapshot()).entries == 1
        await manager.shutdown()

    asyncio.run(main())
