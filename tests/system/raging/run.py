"""A chaos run: a population under fire, that sends, comes and goes; then its accounts.

Stands on everything beside it and on `soaking` for what must not grow. The first worker is spared,
so that what it holds can be watched over the whole run; the others are killed at random.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from typing import Final

import msgspec

import ultrafast as uf
from system import waiting
from system.raging.agents import SPACE, TYPES, streams
from system.raging.book import ASKED, COUNT_BITS, Account, Log, account
from system.soaking.trend import Trend
from system.soaking.watch import Watch
from ultrafast.agents.placing.spawner import inbox_name
from ultrafast.agents.processes.supervisor import WorkerState
from ultrafast.core import Agents, Queues, Region
from ultrafast.errors import AgentError, AgentGone, UltrafastError

__all__ = ["Report", "Settings", "run"]

_PATIENCE_S: Final = 120.0
_TURN_S: Final = 0.02
# Of each type, and how many come and go at a time.
_SHARES: Final = {"chaos-steady": 0.8, "chaos-frail": 0.1, "chaos-mortal": 0.1}
_BRIEF_SHARE: Final = 0.02
_ASKED_AFTER_A_DEATH: Final = 20
_LETTERS: Final = 5000
_MOVES: Final = 5
_MOVES_EVERY_S: Final = 0.1
_MOVE_S: Final = 10.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done.

    Attributes
    ----------
    seconds : float
    seed : int
    agents : int
    workers : int
    rate : float
        Messages a second from outside; each is sent on twice, from agent to agent.
    kill_every_s : tuple of float
        Between two deaths, at least and at most.
    forgets : bool
        Seed a fault: now and then an agent does not write down what it got.
    """

    seconds: float
    seed: int
    agents: int = 10_000
    workers: int = 4
    rate: float = 1_000.0
    kill_every_s: tuple[float, float] = (2.0, 6.0)
    forgets: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes
    ----------
    settings : Settings
    kills, spawned, terminated, ended : int
        Workers killed; agents begun and stopped besides the population; mortals that ended with
        their workers, as their policy says.
    refused : int
        The sender was told.
    moved : int
        Agents that went from a worker to another.
    back_s : list of float
        From each death until so many of those who lived there answered, among all the rest.
    account : Account
    trends : list of Trend
    violations : list of str
    """

    settings: Settings
    kills: int
    spawned: int
    terminated: int
    ended: int
    refused: int
    moved: int
    back_s: list[float]
    account: Account
    trends: list[Trend]
    violations: list[str]

    @property
    def passed(self) -> bool:
        """Nothing lost, nobody missing, nothing grown; and something happened."""
        happened = self.kills > 0 and self.moved > 0 and self.account.accepted > 0
        return not self.violations and happened


class _Chaos:
    def __init__(
        self, manager: uf.UltraFastAgentManager, settings: Settings, directory: str
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._directory = directory
        self._chance = random.Random(settings.seed)
        self._watch = Watch(manager.region_path)
        self._region = Region.attach(manager.region_path, read_only=True)
        self._agents = Agents(self._region)
        self._queues = Queues(self._region)
        self._sent = Log(directory, "sent", 0)
        self._dead = Log(directory, "dead", 0)
        self._count = self._asked = 0
        self._living: list[int] = []  # whatever is killed
        self._mortal: set[int] = set()  # that have answered, and whose workers live
        self._doomed: set[int] = set()  # whose workers were killed
        self._back_s: list[float] = []
        self._count_of: Counter[str] = Counter()
        self._violations: list[str] = []
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> Report:
        store = self._manager.memory_store
        store.set_batch(
            SPACE,
            {"directory": self._directory, "peers": [], "forgets": self._settings.forgets},
        )
        await self._populate()
        letters = asyncio.create_task(self._take_letters())
        try:
            await asyncio.gather(
                self._send(), self._come_and_go(), self._move(), self._kill(), self._sample()
            )
            await asyncio.gather(*self._answers)
            await self._settle()
            await self._judge_agents()
            await asyncio.sleep(0.5)  # letters of the last moment
        finally:
            letters.cancel()
            await asyncio.wait([letters])
            self._watch.close()
        book = account(self._directory)
        trends = self._watch.trends()
        grown = [
            f"{each.name} grew by {each.growth:.1f} in {each.seconds:.0f} s, of {each.samples} "
            f"samples; {each.allowed:.1f} is allowed"
            for each in trends
            if not each.passed
        ]
        return Report(
            settings=self._settings,
            kills=self._count_of["kills"],
            spawned=self._count_of["spawned"],
            terminated=self._count_of["terminated"],
            ended=self._count_of["ended"],
            refused=self._count_of["refused"],
            moved=self._count_of["moved"],
            back_s=sorted(self._back_s),
            account=book,
            trends=trends,
            violations=self._violations + book.violations + grown,
        )

    async def _populate(self) -> None:
        for name, share in _SHARES.items():
            ids = await self._manager.spawn_agents(name, round(self._settings.agents * share))
            await self._all_answer(ids)
            if name == "chaos-mortal":
                self._mortal.update(ids)
            else:
                self._living += ids
        self._manager.memory_store.set(SPACE, "peers", self._living)

    async def _all_answer(self, ids: list[int]) -> None:
        answered = await self._manager.ping_agents(ids, timeout_s=_PATIENCE_S)
        if answered != len(ids):
            self._violations.append(f"{answered} of {len(ids)} agents just spawned answered")

    def _put(self, agent: int) -> None:
        number = self._count
        self._count += 1
        try:
            accepted = self._manager.bus.send_nowait(None, agent, [number, 2])
        except AgentGone:
            accepted = False
        if accepted:
            self._sent.add(number)
        else:
            self._count_of["refused"] += 1

    async def _send(self) -> None:
        """To anybody, at the rate."""
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < self._settings.seconds:
            while sent < passed * self._settings.rate:
                mortal = sent % 10 == 0 and self._mortal
                self._put(self._chance.choice(list(self._mortal) if mortal else self._living))
                sent += 1
            await asyncio.sleep(_TURN_S)

    async def _ask(self, agent: int) -> bool:
        number = ASKED << COUNT_BITS | self._asked
        self._asked += 1
        try:
            answer = await self._manager.request(None, agent, [number, 0], timeout_s=_PATIENCE_S)
        except AgentGone:
            return False
        except AgentError:
            return True  # it is there, and it was one to fail at
        except UltrafastError as error:
            self._violations.append(f"asked, {agent:#x} answered {error!r}")
            return False
        return bool(answer == number)

    async def _come_and_go(self) -> None:
        """Spawn some, use them, and stop them, one half after they have handled what they have."""
        until = time.monotonic() + self._settings.seconds
        some = max(4, round(self._settings.agents * _BRIEF_SHARE))
        while time.monotonic() < until:
            ids = await self._manager.spawn_agents("chaos-steady", some)
            self._count_of["spawned"] += len(ids)
            if not all(await asyncio.gather(*map(self._ask, ids))):
                self._violations.append("not all agents that came answered")
            for agent in ids * 3:
                self._put(agent)
            ends = (
                self._manager.terminate_agent(agent, drain=n % 2 == 0, timeout_s=_PATIENCE_S)
                for n, agent in enumerate(ids)
            )
            if not all(await asyncio.gather(*ends)):
                self._violations.append("not all agents that came were there to be stopped")
            self._count_of["terminated"] += len(ids)
            await self._replace_mortals()

    async def _replace_mortals(self) -> None:
        missing = round(self._settings.agents * _SHARES["chaos-mortal"]) - len(self._mortal)
        if missing <= 0:
            return
        ids = await self._manager.spawn_agents("chaos-mortal", missing)
        self._count_of["spawned"] += len(ids)
        for agent in ids:
            # One whose worker dies before it has answered may have ended, or not have begun.
            if await self._ask(agent) and self._agents.look(agent) is not None:
                self._mortal.add(agent)

    async def _move(self) -> None:
        """Some of the movable ones, each to another's worker or to one that has few agents."""
        movable = self._living[: round(self._settings.agents * _SHARES["chaos-steady"])]
        until = time.monotonic() + self._settings.seconds
        while time.monotonic() < until:
            some = self._chance.sample(movable, 2 * _MOVES)
            moves = (
                self._manager.move_agent(agent, affinity=other, timeout_s=_MOVE_S)
                for agent, other in zip(some[:_MOVES], [*some[_MOVES:-1], None], strict=True)
            )
            for outcome in await asyncio.gather(*moves, return_exceptions=True):
                # A worker that is killed takes its time; the agent is where its record says.
                if isinstance(outcome, BaseException) and not isinstance(outcome, TimeoutError):
                    self._violations.append(f"a move ended with {outcome!r}")
                self._count_of["moved"] += outcome is True
            await asyncio.sleep(_MOVES_EVERY_S)

    async def _kill(self) -> None:
        until = time.monotonic() + self._settings.seconds
        while True:
            pause = self._chance.uniform(*self._settings.kill_every_s)
            left = until - time.monotonic()
            if pause >= left:
                await asyncio.sleep(left)
                return
            await asyncio.sleep(pause)
            ready = [w for w in self._manager.statistics().workers[1:] if w.ready and w.pid]
            if ready:
                self._end(self._chance.choice(ready))

    def _end(self, worker: WorkerState) -> None:
        """Kill one; who lives there is written down in the same turn of the loop."""
        host = self._queues.find(inbox_name(worker.index))
        homes = self._agents.by_worker([*self._mortal, *self._living])
        assert host is not None
        those = set(homes.get(host, ()))
        os.kill(worker.pid, signal.SIGKILL)
        self._count_of["kills"] += 1
        self._doomed |= self._mortal & those
        self._mortal -= those
        asked = self._chance.sample(sorted(those - self._doomed), _ASKED_AFTER_A_DEATH)
        task = asyncio.create_task(self._back(asked))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _back(self, agents: list[int]) -> None:
        begun = time.monotonic()
        if not all(await asyncio.gather(*map(self._ask, agents))):
            self._violations.append("not all agents of a killed worker answered")
        self._back_s.append(time.monotonic() - begun)

    async def _sample(self) -> None:
        until = time.monotonic() + self._settings.seconds
        while time.monotonic() < until:
            workers = self._manager.statistics().workers
            spared = {"the manager": os.getpid(), "a worker": workers[0].pid}
            others = [worker.pid for worker in workers[1:] if worker.pid]
            await asyncio.to_thread(self._watch.sample, spared, others)
            await asyncio.sleep(min(2.0, self._settings.seconds / 30))

    async def _take_letters(self) -> None:
        while True:
            while letters := self._manager.take_dead_letters(_LETTERS):
                self._dead.add(*(each.body[0] | (each.attempts > 0) << 63 for each in letters))
                self._count_of["letters"] += len(letters)
            await asyncio.sleep(_TURN_S)

    async def _settle(self) -> None:
        """Wait until workers are whole and nothing is on its way."""
        states = self._manager.statistics
        await waiting.until(lambda: all(worker.ready for worker in states().workers), _PATIENCE_S)
        quiet_since, last = time.monotonic(), (-1, -1)
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            await asyncio.sleep(0.05)
            now = self._watch.waiting(), self._count_of["letters"]
            if now != last or now[0]:
                quiet_since, last = time.monotonic(), now
            elif time.monotonic() - quiet_since > 1.5:
                return
        self._violations.append(f"{self._watch.waiting()} messages still wait after two minutes")

    async def _judge_agents(self) -> None:
        """Everyone lives, or has ended, as the policy says."""
        alive = [*self._living, *self._mortal]
        answers = await self._manager.ping_agents(alive, timeout_s=_PATIENCE_S)
        if answers != len(alive):
            self._violations.append(f"{answers} of {len(alive)} agents answer in the end")
        expected = set(alive)
        found = set(self._agents.living())
        if there := self._doomed & found:
            self._violations.append(f"{len(there)} agents live that end with their worker")
        self._count_of["ended"] = len(self._doomed)
        if missing := expected - found:
            self._violations.append(f"{len(missing)} agents are not there in the end")
        if self._count_of["kills"] and streams(self._manager.memory_store) < 2:
            self._violations.append("no successor handled a message")


async def run(settings: Settings) -> Report:
    """Do a chaos run from the start of a system to its end."""
    config = uf.Config(
        workers=settings.workers,
        max_concurrent_agents=round(settings.agents * 1.5),
        agent_pool=uf.AgentPoolConfig(pre_warm={}),
        # It keeps the last minute of every histogram, which looks like growth to a run so short.
        enable_performance_monitoring=settings.seconds >= 300,
    )
    with tempfile.TemporaryDirectory(prefix="ultrafast-chaos-") as directory:
        async with uf.UltraFastAgentManager(config) as manager:
            for name, (cls, restart) in TYPES.items():
                manager.register(name, cls, restart=restart, movable=name == "chaos-steady")
            return await _Chaos(manager, settings, directory).run()
