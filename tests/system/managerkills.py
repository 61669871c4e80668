"""Kill managers of a persistent system at random moments, also of their start; nothing may be lost.

The short form runs in the suite (`test_persist.py`); the long one is this file:

    .venv/bin/python tests/system/managerkills.py --kills 100 --workers-too

A client sends numbered messages to agents all the while, who write down what they handle. Managers
are started one after the other on one region, spawn, ask, terminate and register types, and are
killed; with --workers-too, workers are as well. In the end one more manager is started: every
accepted message was handled, none twice but with the mark of a redelivery; every agent answers; the
workers are those of the beginning, where only managers were killed, and their agents' objects too;
nothing is left of the system once it ends. The exit status is 1 when any of this does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

import ultrafast as uf

if __name__ == "__main__":
    # Its parts are imported by the workers too, by the names that the suite gives them.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from system.leaving import TESTS, config_of, left_behind, workers_of
from ultrafast.core.leftovers import region_path

__all__ = ["Report", "run"]

AGENTS = 6
PAUSE_S = 0.002
LINE = "<IQ?"


class Report(msgspec.Struct, kw_only=True):
    """What came of it."""

    kills: int = 0
    in_their_start: int = 0
    workers_killed: int = 0
    accepted: int = 0
    refused: int = 0
    redelivered: int = 0
    violations: list[str] = []

    @property
    def passed(self) -> bool:
        """Nothing lost, nobody missing, nothing left; and something happened."""
        return not self.violations and self.kills > 0 and self.accepted > 0


class Noting(uf.Agent):
    """Writes down what it handles, and counts it in its object."""

    def on_start(self) -> None:
        self.count = 0
        folder = self.context.memory_store.get("kills", "folder")
        self.file = os.open(f"{folder}/seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def on_stop(self) -> None:
        os.close(self.file)

    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "count":
            return self.count
        number, mark = message.body
        os.write(self.file, struct.pack(LINE, number, mark, message.redelivered))
        self.count += 1
        return None


def manager_of(config: uf.Config) -> uf.UltraFastAgentManager:
    """A manager that knows the agents."""
    manager = uf.UltraFastAgentManager(config)
    manager.register("noting", Noting, restart=uf.Restart(intensity=1_000_000))
    return manager


async def manage(settings: str) -> None:
    """Be the manager that is killed: come, do this and that, for ever."""
    folder = str(Path(settings).parent)
    async with manager_of(uf.Config.from_toml(settings)) as m:
        m.memory_store.set("kills", "folder", folder)
        for number in range(AGENTS):
            if m.lookup(f"n{number}") is None:
                await m.spawn_agent("noting", name=f"n{number}")
        Path(folder, "there").touch()
        number = 0
        while True:
            m.register(f"late-{number % 3}", Noting)
            agent = await m.spawn_agent(f"late-{number % 3}")
            assert await m.request(None, agent, "count", timeout_s=60) == 0
            assert await m.terminate_agent(agent)
            number += 1


class _Kills:
    def __init__(self, folder: Path, seed: int, workers_too: bool) -> None:
        self.report = Report()
        self._folder = folder
        self._chance = random.Random(seed)
        self._workers_too = workers_too
        self._config = config_of(folder)
        self._path = region_path(self._config.region_path, self._config.name or "")
        self._sent: list[list[int]] = [[] for _ in range(AGENTS)]
        self._done = False

    async def run(self, kills: int) -> Report:
        with left_behind(self._config):
            began = time.monotonic()
            first = self._start()
            await self._until(lambda: self._there.exists(), "no system came to be", first)
            start_s = time.monotonic() - began
            before = workers_of(self._config)
            async with uf.attach(self._path) as client:
                sending = asyncio.create_task(self._send(client))
                await self._kill(first)
                for _ in range(kills - 1):
                    child = self._start()
                    await asyncio.sleep(self._chance.uniform(0.0, 1.7 * start_s))
                    if self._workers_too and self._chance.random() < 0.4:
                        self._kill_worker()
                    await self._kill(child)
                self._done = True
                await sending
                await self._judge(client, before)
            await asyncio.sleep(0)
            name = Path(self._path).name
            left = [each.name for each in Path("/dev/shm").iterdir() if each.name.startswith(name)]
            if left:
                self._objects(f"left behind: {left}")
        return self.report

    @property
    def _there(self) -> Path:
        return self._folder / "there"

    def _objects(self, what: str) -> None:
        self.report.violations.append(what)

    def _start(self) -> subprocess.Popen[bytes]:
        self._there.unlink(missing_ok=True)
        words = [sys.executable, "-P", "-m", "system.managerkills"]
        return subprocess.Popen(
            [*words, "--manage", str(self._folder / "system.toml")],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "said").open("ab"),
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )

    async def _until(self, what: Any, otherwise: str, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while not what():
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()
                raise RuntimeError(f"{otherwise}: {(self._folder / 'said').read_text()[-3000:]}")
            await asyncio.sleep(0.01)

    async def _kill(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is not None:
            said = (self._folder / "said").read_text()[-3000:]
            self._objects(f"a manager ended with {child.returncode} by itself: {said}")
        child.kill()
        child.wait()
        self.report.kills += 1
        self.report.in_their_start += not self._there.exists()

    def _kill_worker(self) -> None:
        pids = list(workers_of(self._config).values())
        if pids:
            os.kill(self._chance.choice(pids), signal.SIGKILL)
            self.report.workers_killed += 1

    async def _send(self, client: uf.Client) -> None:
        mark = 0
        while not self._done:
            number = mark % AGENTS
            agent = client.lookup(f"n{number}")
            if agent is None:
                self._objects(f"agent n{number} is gone")
                return
            if await client.send_message(None, agent, [number, mark]):
                self._sent[number].append(mark)
                self.report.accepted += 1
            else:
                self.report.refused += 1
            mark += 1
            await asyncio.sleep(PAUSE_S)

    async def _judge(self, client: uf.Client, before: dict[int, int]) -> None:
        async with manager_of(self._config) as m:
            if not m.adopted:
                self._objects("the last manager found nothing to adopt")
                return
            if not self._workers_too and workers_of(self._config) != before:
                self._objects(f"workers {before} became {workers_of(self._config)}")
            counts = []
            for number in range(AGENTS):
                agent = client.lookup(f"n{number}")
                if agent is None:
                    self._objects(f"agent n{number} is gone")
                    return
                # Behind all that the same sender sent.
                counts.append(await client.request(None, agent, "count", timeout_s=60))
            # What managers asked agents of their own, which end with them, may be there, too.
            letters = [each for each in m.dead_letters() if each.body != "count"]
        if letters:
            self._objects(f"{len(letters)} dead letters, such as {letters[0]}")
        data = (self._folder / "seen").read_bytes()
        lines = list(struct.iter_unpack(LINE, data))
        self.report.redelivered = sum(again for _, _, again in lines)
        for number in range(AGENTS):
            handled = Counter(mark for who, mark, _ in lines if who == number)
            fresh = Counter(mark for who, mark, again in lines if who == number and not again)
            lost = set(self._sent[number]) - handled.keys()
            if lost:
                self._objects(f"n{number}: {len(lost)} accepted and lost, such as {min(lost)}")
            if twice := [mark for mark, count in fresh.items() if count > 1]:
                self._objects(f"n{number}: {len(twice)} handled twice, such as {min(twice)}")
            if not self._workers_too and counts[number] != handled.total():
                self._objects(f"n{number}: its object counted {counts[number]}, not all")


async def run(
    kills: int, seed: int, *, workers_too: bool = False, folder: Path | None = None
) -> Report:
    """Kill so many managers: what came of it."""
    with tempfile.TemporaryDirectory(prefix="kills-") as own:
        return await _Kills(folder or Path(own), seed, workers_too).run(kills)


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers-too", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--manage", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.manage:
        asyncio.run(manage(options.manage))
    print(f"seed {options.seed}", flush=True)
    report = asyncio.run(run(options.kills, options.seed, workers_too=options.workers_too))
    for name, value in msgspec.structs.asdict(report).items():
        if name != "violations":
            print(f"{name.replace('_', ' '):20} {value:>10}")
    for violation in report.violations:
        print(f"VIOLATION: {violation}")
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
