"""Runs a soak: saturation, then half of it for a while under fire, then the accounts.

Stands on everything beside it. One worker and one sending process are spared, so that what they
hold can be watched over the whole run; the others are killed at random.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

import ultrafast as uf
from system import waiting
from system.soaking.actors import TYPES
from system.soaking.book import Account, DeadLog, account
from system.soaking.ids import RECEIVERS_MAX, SPACE, WAYS
from system.soaking.load import QUEUE_NAME, Order
from system.soaking.trend import Trend
from system.soaking.watch import Watch
from ultrafast.metric_names import Counter as Metric

__all__ = ["Report", "Settings", "run"]

_TESTS: Final = Path(__file__).parents[2]
_SINKS: Final = 48
_WORKERS: Final = 3
_SENDERS: Final = 3
_PATIENCE_S: Final = 60.0
_LONG_S: Final = 300.0
_CACHE: Final = 64  # free blocks of a size that a process may hold: UF_CACHE


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done.

    Attributes
    ----------
    seconds : float
        Under fire.
    seed : int
        Of the deaths.
    saturation_s : float
        For measuring how much goes through at most.
    share : float
        Of that, for the run.
    kill_every_s : tuple of float
        Between two deaths, at least and at most; nobody dies when it is empty.
    leaks : tuple of str
        Of "memory", "blocks", "entries": what the receivers do wrong.
    keep : str, optional
        An empty folder for the logs, which stay there.
    """

    seconds: float
    seed: int
    saturation_s: float = 10.0
    share: float = 0.5
    kill_every_s: tuple[float, float] | tuple[()] = (1.0, 5.0)
    leaks: tuple[str, ...] = ()
    keep: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes
    ----------
    settings : Settings
    saturation : float
        Messages received a second when every sender waited for nothing but acceptance.
    rate : float
        Received a second in the run.
    p50_ms, p95_ms : float
        Of the run's last minute, from the intended send to the handler in another process; None in
        a run too short to be monitored.
    kills : dict of str to int
    refused : int
        Over all processes, saturation included.
    account : Account
    trends : list of Trend
    violations : list of str
        Empty when all held.
    """

    settings: Settings
    saturation: float
    rate: float
    p50_ms: float | None
    p95_ms: float | None
    kills: dict[str, int]
    refused: int
    account: Account
    trends: list[Trend]
    violations: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, doubled, turned round or leaked."""
        return not self.violations and self.account.accepted > 0 and self.account.ordered > 0


class _Senders:
    """The sending processes."""

    def __init__(self, name: str, directory: str) -> None:
        self._command = [sys.executable, "-P", "-m", "system.soaking.sender", name, directory]
        self._environment = {**os.environ, "PYTHONPATH": str(_TESTS)}
        self.processes = [self._start() for _ in range(_SENDERS)]
        self.faults: list[str] = []

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stderr=subprocess.PIPE)

    def replace(self, which: int) -> None:
        """Kill one, and start another in its place."""
        self._end(self.processes[which])
        self.processes[which] = self._start()

    def end(self) -> None:
        """Kill all. May be called twice."""
        while self.processes:
            self._end(self.processes.pop())

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        early = process.poll()
        process.kill()
        error = process.communicate()[1]
        if early is not None:
            self.faults.append(f"a sender ended by itself with {early}: {error.decode()[-500:]}")


class _Soak:
    """One run."""

    def __init__(
        self, manager: uf.UltraFastAgentManager, settings: Settings, directory: str
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._directory = directory
        self._chance = random.Random(settings.seed)
        self._kills: Counter[str] = Counter()
        self._watch = Watch(manager.region_path)
        self._dead = DeadLog(directory)
        self._violations: list[str] = []

    async def run(self) -> Report:
        manager, settings = self._manager, self._settings
        store = manager.memory_store
        store.set_batch(
            SPACE,
            {"directory": self._directory, "leaks": list(settings.leaks), "order": Order("stop")},
        )
        await self._populate()
        senders = _Senders(manager.name, self._directory)
        letters = asyncio.create_task(self._take_letters())
        try:
            await waiting.until(
                lambda: store.get(SPACE, "senders") == _WORKERS + _SENDERS, _PATIENCE_S
            )
            before = self._watch.in_use(), len(store)
            saturation = await self._saturate()
            await self._settle()
            started, begun = self._received(), time.monotonic()
            self._order(Order("open", saturation * settings.share / (_WORKERS + _SENDERS)))
            await asyncio.gather(self._fire(senders), self._sample(senders))
            rate = (self._received() - started) / (time.monotonic() - begun)
            latency = manager.get_performance_metrics(60).communication_latency
            self._order(Order("stop"))
            await self._ready()
            await asyncio.sleep(0.2)
            senders.end()
            await self._settle()
            await self._all_given_back(*before)
        finally:
            senders.end()
            letters.cancel()
            await asyncio.wait([letters])
            self._watch.close()
        book = account(self._directory, WAYS)
        trends = self._watch.trends()
        grown = [
            f"{each.name} grew by {each.growth:.1f} in {each.seconds:.0f} s, of {each.samples} "
            f"samples; {each.allowed:.1f} is allowed"
            for each in trends
            if not each.passed
        ]
        violations = self._violations + senders.faults + book.violations + grown
        refused = manager.metrics_counter(Metric.REFUSED)
        return Report(
            settings=settings,
            saturation=saturation,
            rate=rate,
            p50_ms=latency.p50_ms if settings.seconds >= _LONG_S else None,
            p95_ms=latency.p95_ms if settings.seconds >= _LONG_S else None,
            kills=dict(self._kills),
            refused=refused,
            account=book,
            trends=trends,
            violations=violations,
        )

    async def _populate(self) -> None:
        """Spawn the agents, and write down who is who."""
        manager = self._manager
        store = manager.memory_store
        manager.queue(QUEUE_NAME)
        sinks = await manager.spawn_agents("soak-sink", _SINKS)
        store.set(SPACE, "sinks", sinks)
        others = [
            await manager.spawn_agent(name)
            for name in ("soak-taker", "soak-member", "soak-source")
            for _ in range(_WORKERS)
        ]
        for number, agent_id in enumerate([*sinks, *others]):
            assert number < RECEIVERS_MAX
            store.set(SPACE, f"agent-{agent_id:x}", number)
        self._ids = [*sinks, *others]
        await manager.ping_agents(self._ids)

    def _order(self, order: Order) -> None:
        self._manager.memory_store.set(SPACE, "order", order)

    def _received(self) -> int:
        """Records in all logs of receivers."""
        return sum(path.stat().st_size for path in Path(self._directory).glob("got-*")) // 8

    async def _saturate(self) -> float:
        """The median of the rates of short intervals, without the first."""
        self._order(Order("closed"))
        intervals = 10
        rates = []
        for _ in range(intervals):
            before, begun = self._received(), time.monotonic()
            await asyncio.sleep(self._settings.saturation_s / intervals)
            rates.append((self._received() - before) / (time.monotonic() - begun))
        self._order(Order("stop"))
        return statistics.median(rates[1:])

    async def _settle(self) -> None:
        """Wait until nothing is on its way any more."""
        last, quiet_since = -1, time.monotonic()
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            await asyncio.sleep(0.05)
            received = self._received()
            if received != last or self._watch.waiting():
                last, quiet_since = received, time.monotonic()
            # An idle consumer looks for what a dead one had every half second.
            elif time.monotonic() - quiet_since > 1.2:
                return
        self._violations.append(f"{self._watch.waiting()} messages still wait after a minute")

    async def _fire(self, senders: _Senders) -> None:
        """Kill, now a sender and now a worker, until the time is over."""
        settings = self._settings
        until = time.monotonic() + settings.seconds
        while True:
            pause = self._chance.uniform(*settings.kill_every_s) if settings.kill_every_s else 1e9
            left = until - time.monotonic()
            if pause >= left:
                await asyncio.sleep(left)
                return
            await asyncio.sleep(pause)
            if self._chance.random() < 0.5:
                senders.replace(self._chance.randrange(1, _SENDERS))
                self._kills["senders"] += 1
            else:
                workers = self._manager.statistics().workers
                victim = self._chance.choice(workers[1:])
                if victim.pid:
                    os.kill(victim.pid, signal.SIGKILL)
                    self._kills["workers"] += 1

    async def _sample(self, senders: _Senders) -> None:
        until = time.monotonic() + self._settings.seconds
        interval_s = min(2.0, self._settings.seconds / 30)
        while time.monotonic() < until:
            workers = self._manager.statistics().workers
            spared = {
                "the manager": os.getpid(),
                "a worker": workers[0].pid,
                "a sender": senders.processes[0].pid,
            }
            others = [worker.pid for worker in workers[1:] if worker.pid]
            others += [process.pid for process in senders.processes[1:]]
            await asyncio.to_thread(self._watch.sample, spared, others)
            await asyncio.sleep(interval_s)

    async def _take_letters(self) -> None:
        """Write dead letters down as they come."""
        while True:
            letters = self._manager.take_dead_letters(5000)
            found = []
            for letter in letters:
                body: Any = letter.body
                number = body[1][0] if letter.kind == "publish" else body[0]
                found.append((number, letter.reason, letter.attempts))
            if found:
                self._dead.add(found)
            await asyncio.sleep(0.1)

    async def _ready(self) -> None:
        """Wait for workers to be whole again, and every agent to answer."""
        states = self._manager.statistics
        await waiting.until(lambda: all(worker.ready for worker in states().workers), _PATIENCE_S)
        answering = await self._manager.ping_agents(self._ids, timeout_s=_PATIENCE_S)
        if answering != len(self._ids):
            self._violations.append(f"{answering} of {len(self._ids)} agents answer in the end")

    async def _all_given_back(self, blocks: dict[str, int], entries: int) -> None:
        """With nothing on its way, as much is free as was before the first message."""
        until = time.monotonic() + 10.0
        while True:
            now = self._watch.in_use()
            # A live process may keep a few for itself, against the next message.
            kept = {
                name: now[name] - before - _CACHE * (_WORKERS + 1)
                for name, before in blocks.items()
            }
            more = len(self._manager.memory_store) - entries
            if (max(kept.values()) <= 0 and more <= 0) or time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        self._violations += [f"{n} {name} never came back" for name, n in kept.items() if n > 0]
        if more > 0:
            keys = list(self._manager.memory_store.keys("ultrafast.bus"))
            self._violations.append(f"{more} entries of the store are left over; {keys[:10]}")


async def run(settings: Settings) -> Report:
    """Do a soak from the start of a system to its end."""
    config = uf.Config(
        workers=_WORKERS,
        max_concurrent_agents=200,
        mailbox_capacity=100_000,
        agent_pool=uf.AgentPoolConfig(pre_warm={}),
        # It keeps the last minute of every histogram, which looks like growth to a run so short.
        enable_performance_monitoring=settings.seconds >= _LONG_S,
    )
    with contextlib.ExitStack() as stack:
        if settings.keep is not None:
            directory = settings.keep
        else:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ultrafast-soak-"))
        async with uf.UltraFastAgentManager(config) as manager:
            for name, cls in TYPES.items():
                manager.register(name, cls)
            return await _Soak(manager, settings, directory).run()
