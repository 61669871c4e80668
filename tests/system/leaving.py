"""A manager that leaves its workers behind: started by a test, which kills it.

    python -m system.leaving SETTINGS.toml [AT]

It says `there` once its agents are, and waits. With AT it kills itself instead, at that point of
its start. The agents of both sides, and what ends what a failed test leaves, are here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ultrafast as uf
from ultrafast.agents.placing.pools import PoolKeeper
from ultrafast.agents.processes.supervisor import Supervisor
from ultrafast.core import Region
from ultrafast.core._region import ROLE_CLIENT, ROLE_WORKER
from ultrafast.core.leftovers import region_path, remove_region
from ultrafast.errors import RegionError

__all__ = ["AGENTS", "Keeper", "config_of", "leave", "left_behind", "workers_of"]

AGENTS = 4
TESTS = Path(__file__).resolve().parents[1]
# Where a start can be cut short, in the order in which it comes there.
POINTS = {
    "launch": (Supervisor, "_launch"),
    "adopt": (Supervisor, "_adopt"),
    "met": (Supervisor, "_met"),
    "pools": (PoolKeeper, "tick"),
    # And in its life: a worker has handed over and ended, none is in its place.
    "recycled": (Supervisor, "_recycled"),
}


class Keeper(uf.Agent):
    """Keeps in its object what it was told, and how often its timer came."""

    def on_start(self) -> None:
        self.seen: list[Any] = []
        self.ticks = 0
        self.every(0.02, self.tick)

    def tick(self) -> None:
        self.ticks += 1

    def on_stop(self) -> None:
        self.context.memory_store.set("ended", f"{self.id:x}", len(self.seen))

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        body = message.body
        if body == "all":
            return {"seen": self.seen, "pid": os.getpid(), "ticks": self.ticks}
        if isinstance(body, dict):  # wait for that time, in a handler
            await asyncio.sleep(body["wait_s"])
            return {"waited": body["wait_s"], "pid": os.getpid()}
        self.seen.append(body)
        return None


def config_of(folder: Path, **more: Any) -> uf.Config:
    """The settings of both sides; also written to a file for the other one."""
    name = f"left-{os.getpid()}-{folder.name[-20:]}"
    plain: dict[str, Any] = {
        "name": name,
        "persist": True,
        "workers": 2,
        "spare_workers": 0,
        "max_concurrent_agents": 100,
        "enable_performance_monitoring": False,
        **more,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    path = folder / "system.toml"
    path.write_text("\n".join([*lines, "[agent_pool.pre_warm]", "keeper = 2"]) + "\n")
    return uf.Config.from_toml(path)


def leave(folder: Path, at: str = "", *, kill: bool = True) -> subprocess.Popen[bytes]:
    """Start a manager with the settings of the folder, wait until it is there, and kill it."""
    words = [sys.executable, "-P", "-m", "system.leaving", str(folder / "system.toml"), at]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    system = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    assert system.stdout is not None
    if at:  # what it says is not read: a worker that lives has the other end, too
        assert system.wait() == -signal.SIGKILL, at
    else:
        assert system.stdout.readline() == b"there\n"
        if kill:
            system.kill()
            system.wait()
    if kill or at:
        system.stdout.close()
    return system


def workers_of(config: uf.Config) -> dict[int, int]:
    """The process of each slot that a living worker has."""
    with Region.attach(
        region_path(config.region_path, config.name or ""), read_only=True
    ) as region:
        return {
            owner.slot: owner.pid
            for owner in region.owners()
            if owner.role == ROLE_WORKER and region.alive(owner.slot)
        }


@contextlib.contextmanager
def left_behind(config: uf.Config) -> Iterator[None]:
    """Have a test that fails leave nothing: no process of that system, and no file of its."""
    path = region_path(config.region_path, config.name or "")
    try:
        yield
    finally:
        with contextlib.suppress(RegionError):
            until = time.monotonic() + 10.0
            with Region.attach(path, read_only=True) as region:
                while time.monotonic() < until:
                    alive = [
                        each.pid
                        for each in region.owners()
                        if each.role != ROLE_CLIENT
                        and each.pid != os.getpid()
                        and region.alive(each.slot)
                    ]
                    for pid in alive:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    if not alive:
                        break
                    time.sleep(0.01)
            remove_region(path)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | int | float) else f'"{value}"'


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(settings: str, at: str) -> None:
    """Be the manager."""
    if at:
        owner, name = POINTS[at]
        was = getattr(owner, name)
        setattr(owner, name, functools.wraps(was)(_die))
    manager = uf.UltraFastAgentManager(uf.Config.from_toml(settings))
    manager.register("keeper", Keeper, restart="never" if at == "recycled" else None)
    async with manager:
        if not manager.adopted:
            for number in range(AGENTS):
                await manager.spawn_agent("keeper", name=f"k{number}")
        assert await manager.ping_agents(timeout_s=60) >= AGENTS
        print("there", flush=True)
        while True:
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
