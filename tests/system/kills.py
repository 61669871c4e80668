"""Kill senders, workers and readers under load, and count what became of every accepted message.

The short form runs in the suite (`test_kills.py`); the long one is this file:

    .venv/bin/python tests/system/kills.py --kills 200

A sender writes a message's number into its own log after `send` accepted it; a receiver writes the
number into its worker's log before its handler returns. Both are plain appending writes, which
survive the writer's death. In the end every number in a sender's log must be in a receiver's, and
one that is there twice must have been marked as redelivered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

import ultrafast as uf

__all__ = ["Report", "run"]

COLLECTORS = 50
SENDER = """
import asyncio, os, sys
import ultrafast as uf

async def main(name, directory, first, ids):
    log = os.open(f"{directory}/sent-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with uf.attach(name) as client:
        number = first
        while True:
            for _ in range(20):
                receiver = ids[number % len(ids)]
                try:
                    if client.bus.send_nowait(None, receiver, [number, directory]):
                        os.write(log, b"%d\\n" % number)
                        number += 1
                except uf.errors.AgentGone:
                    pass
            await asyncio.sleep(0.001)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(i) for i in sys.argv[4:]]))
"""
READER = """
import sys
from ultrafast.core import Region, Table
from ultrafast.core._region import ROLE_CLIENT
table = Table(Region.attach(sys.argv[1], ROLE_CLIENT))
while True:
    for key in range(100):
        value = table.get("kills", str(key))
        assert value is None or value == value[:1] * len(value), f"torn: {value[:40]!r}"
        table.set("kills", f"reader-{key}", bytes([key]) * 100)
"""


class Collector(uf.Agent):
    """Writes down what it gets."""

    log = -1

    async def on_message(self, message: uf.IncomingMessage) -> None:
        number, directory = message.body
        if self.log < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            type(self).log = os.open(f"{directory}/got-{os.getpid()}", flags)
        os.write(self.log, b"%d %d\n" % (number, message.redelivered))
        if number % 7 == 0:
            await asyncio.sleep(0)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and found."""

    kills: dict[str, int]
    accepted: int
    delivered: int
    redelivered: int
    lost: list[int]
    doubled_unmarked: list[int]
    reader_faults: list[str]
    agents_answering: int
    agents: int

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing doubled in silence, nobody left behind."""
        return (
            self.accepted > 0
            and not self.lost
            and not self.doubled_unmarked
            and not self.reader_faults
            and self.agents_answering == self.agents
        )


class _Crowd:
    """The processes that are no children of the manager."""

    def __init__(self, manager: uf.UltraFastAgentManager, directory: str, ids: list[int]) -> None:
        self._manager = manager
        self._directory = directory
        self._ids = [str(agent_id) for agent_id in ids]
        self._first = 0
        self.faults: list[str] = []

    def sender(self) -> subprocess.Popen[bytes]:
        self._first += 10_000_000
        command = [sys.executable, "-P", "-c", SENDER, self._manager.name, self._directory]
        return subprocess.Popen([*command, str(self._first), *self._ids])

    def reader(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", READER, self._manager.region_path]
        return subprocess.Popen(command, stderr=subprocess.PIPE)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        early = process.poll()
        process.kill()
        error = process.communicate()[1] or b""
        if early is not None:
            self.faults.append(f"ended by itself with {early}: {error.decode()[-300:]}")


async def run(kills: int, seed: int) -> Report:
    """Kill `kills` each of senders, workers and readers, in turn, at random times."""
    chance = random.Random(seed)
    config = uf.Config(workers=2, max_concurrent_agents=1000)
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        async with uf.UltraFastAgentManager(config) as manager:
            manager.register("collector", Collector)
            ids = await manager.spawn_agents("collector", COLLECTORS)
            crowd = _Crowd(manager, directory, ids)
            senders = [crowd.sender() for _ in range(2)]
            readers = [crowd.reader() for _ in range(2)]
            await asyncio.sleep(1.0)
            for _ in range(kills):
                for kind in ("sender", "worker", "reader"):
                    await asyncio.sleep(chance.uniform(0.0, 0.1))
                    done[kind] += 1
                    if kind == "worker":
                        await _kill_worker(manager, chance)
                        continue
                    processes = senders if kind == "sender" else readers
                    victim = chance.randrange(len(processes))
                    crowd.end(processes[victim])
                    processes[victim] = crowd.sender() if kind == "sender" else crowd.reader()
                    manager.memory_store.set("kills", str(chance.randrange(100)), b"x" * 200)
            await _all_ready(manager)
            await asyncio.sleep(0.5)
            for process in senders + readers:
                crowd.end(process)
            accepted = _numbers(directory, "sent-")
            delivered = await _settled(directory, accepted)
            answering = await manager.ping_agents(ids, timeout_s=30.0)
    twice = Counter(number for number, _ in delivered)
    marked = {number for number, redelivered in delivered if redelivered}
    got = set(twice)
    return Report(
        kills=dict(done),
        accepted=len(accepted),
        delivered=len(got),
        redelivered=len(marked),
        lost=sorted({number for number, _ in accepted} - got),
        doubled_unmarked=sorted(n for n, times in twice.items() if times > 1 and n not in marked),
        reader_faults=crowd.faults,
        agents_answering=answering,
        agents=len(ids),
    )


async def _kill_worker(manager: uf.UltraFastAgentManager, chance: random.Random) -> None:
    """Kill a worker that runs; sometimes one that has not yet taken over from the last."""
    pids = manager.pids()[1:]
    if pids:
        os.kill(chance.choice(pids), signal.SIGKILL)
    if chance.random() < 0.8:
        await _all_ready(manager)


async def _all_ready(manager: uf.UltraFastAgentManager) -> None:
    async with asyncio.timeout(60):
        while not all(worker.ready for worker in manager.statistics().workers):
            await asyncio.sleep(0.01)


async def _settled(directory: str, accepted: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What the receivers got, once they have everything or a minute has passed."""
    wanted = {number for number, _ in accepted}
    until = time.monotonic() + 60
    while True:
        delivered = _numbers(directory, "got-")
        if wanted <= {number for number, _ in delivered} or time.monotonic() > until:
            return delivered
        await asyncio.sleep(0.1)


def _numbers(directory: str, prefix: str) -> list[tuple[int, int]]:
    """Numbers in the logs, each with its mark (0 where there is none)."""
    found = []
    for path in Path(directory).glob(f"{prefix}*"):
        for line in path.read_text().splitlines():
            words = [int(word) for word in line.split()]
            found.append((words[0], words[1] if len(words) > 1 else 0))
    return found


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    report = asyncio.run(run(options.kills, options.seed))
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
