"""Puts load on a running system and reads what its shared histograms say about it.

Stands on the manager, the agents of this package, and a read-only view of the region's metrics, so
that reading disturbs nothing. It measures; targets are for scenarios to set.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

import msgspec

from ultrafast import UltraFastAgentManager
from ultrafast.core import Metrics, Region
from ultrafast.metric_names import Counter, Histogram
from ultrafast.monitoring.metrics import memory_bytes
from ultrafast.validation.agents import (
    CHATTER,
    NAMESPACE,
    PACER,
    TARGET,
    TARGET_COLD,
    Chatter,
    Pacer,
    PacerOrder,
    PacerReport,
    Target,
    report_key,
)
from ultrafast.validation.figures import (
    Accounting,
    Figure,
    Phase,
    Quantity,
    of_histogram,
    of_samples,
)
from ultrafast.validation.machine import CpuShares
from ultrafast.validation.rounds import Lap, calmest, enough, laps_of, median_p95_ms, merged

__all__ = ["Load", "Window"]

_POOL = 128
_SETTLE_S = 10.0
_ANSWER_S = 10.0
_PING_S = 60.0
_POLL_S = 0.02


class Window:
    """What a shared histogram got since this was made.

    Parameters
    ----------
    metrics : Metrics
    histogram : Histogram
    """

    def __init__(self, metrics: Metrics, histogram: Histogram) -> None:
        self._metrics = metrics
        self._histogram = int(histogram)
        self._counts, self._total, _ = metrics.read(self._histogram)

    def samples(self) -> tuple[Any, int]:
        """The samples so far: how many in each bucket, and their sum in nanoseconds."""
        counts, total, _ = self._metrics.read(self._histogram)
        return counts - self._counts, int(total - self._total)

    def count(self) -> int:
        """How many there are so far."""
        return int((self._metrics.read(self._histogram)[0] - self._counts).sum())


class Load:
    """Measures a system, step by step; `async with` brings its agents to life.

    Parameters
    ----------
    manager : UltraFastAgentManager
        Started.
    receivers : int
        Agents that paced messages are spread over, at most.
    payload_bytes : int
        Of each paced message.

    Attributes
    ----------
    quantities, problems : list
        What was found so far.
    """

    def __init__(
        self, manager: UltraFastAgentManager, *, receivers: int = 64, payload_bytes: int = 64
    ) -> None:
        self._manager = manager
        self._receivers = receivers
        self._payload_bytes = payload_bytes
        self._targets: dict[int, list[int]] = defaultdict(list)
        self._chatters: dict[int, list[int]] = defaultdict(list)
        self._paced_to: set[int] = set()
        self._accepted = 0
        self._figures: dict[tuple[str, Phase], Figure] = {}
        self._samples_ns: dict[tuple[str, Phase], list[int]] = defaultdict(list)
        self.quantities: list[Quantity] = []
        self.problems: list[str] = []

    async def __aenter__(self) -> Load:
        manager = self._manager
        self._region = Region.attach(manager.region_path, read_only=True)
        try:
            self._metrics = Metrics(self._region)
            manager.register(TARGET, Target, pre_warm=_POOL)
            manager.register(TARGET_COLD, Target)
            manager.register(PACER, Pacer)
            manager.register(CHATTER, Chatter)
            # The first spawn tells the workers of the types; only then are their pools filled.
            self._pacer = await manager.spawn_agent(PACER)
            for chatter in await manager.spawn_agents(CHATTER, 4 * max(1, self._hosts())):
                answer = await manager.request(None, chatter, {"peer": 0}, timeout_s=_ANSWER_S)
                self._chatters[answer["pid"]].append(chatter)
            await self._until(self._pool_is_warm, "the pool of validation agents to be filled")
        except BaseException:
            self._region.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._region.close()

    # --- spawns

    async def measure_spawns(self, n: int, phase: Phase = "idle", *, cold: bool = False) -> None:
        """Spawn `n` agents one after the other, and ask each a question.

        A spawn is timed from the call to its return with the id, and to the agent's first reply.
        Those that found no warm agent waiting are reported as cold ones.
        """
        agent_type = TARGET_COLD if cold else TARGET
        warm_ns: list[int] = []
        cold_ns: list[int] = []
        answer_ns: list[int] = []
        warm_before = self._sum(Histogram.SPAWN_WARM)
        for _ in range(n):
            called = time.monotonic_ns()
            agent = await self._manager.spawn_agent(agent_type)
            returned = time.monotonic_ns()
            answer = await self._manager.request(None, agent, "who", timeout_s=_ANSWER_S)
            answer_ns.append(time.monotonic_ns() - called)
            self._targets[answer["pid"]].append(agent)
            warm_after = self._sum(Histogram.SPAWN_WARM)
            (warm_ns if warm_after > warm_before else cold_ns).append(returned - called)
            if not cold and warm_after == warm_before:
                await self._until(self._pool_is_warm, "the pool of validation agents to be filled")
            warm_before = warm_after
        answers = "cold spawn to answer" if cold else "warm spawn to answer"
        for name, samples in (
            ("warm spawn", warm_ns),
            ("cold spawn", cold_ns),
            (answers, answer_ns),
        ):
            if samples:
                found = self._samples_ns[name, phase]
                found += samples
                self._keep(of_samples(name, phase, "one after the other", found))

    @property
    def figures(self) -> list[Figure]:
        """The distributions found so far."""
        return list(self._figures.values())

    def _keep(self, figure: Figure) -> None:
        self._figures[figure.name, figure.phase] = figure

    def _sum(self, histogram: Histogram) -> int:
        return int(self._metrics.read(int(histogram))[1])

    def _pool_is_warm(self) -> bool:
        state = self._manager.statistics().pools[TARGET]
        return state.warm >= state.target

    # --- communication

    async def measure_communication(
        self, rate: float, duration_s: float, phase: Phase = "idle"
    ) -> None:
        """Send paced messages from one worker to agents of others, `rate` a second in all.

        The latency of each is from its intended send time to the entry of its handler. They are
        sent in rounds, and those that others disturbed are repeated (see `rounds`).
        """
        name = "communication"
        pacer_pid = await self._pid_of_pacer()
        others = [each for pid, ids in self._targets.items() if pid != pacer_pid for each in ids]
        receivers = others[: self._receivers]
        conditions = f"{rate:,g} messages/s of {self._payload_bytes} B between workers, {phase}"
        if not receivers:
            self.problems.append(
                f"{name}: no agent lives in another worker than the sender; use 2 workers or more"
            )
            self._keep(Figure(name=name, phase=phase, conditions=conditions, samples=0))
            return
        self._paced_to.update(receivers)
        wanted, lap_s = laps_of(duration_s)
        order = PacerOrder(
            receivers=receivers,
            rate=rate,
            messages=max(1, round(rate * lap_s)),
            payload_bytes=self._payload_bytes,
        )
        laps: list[Lap] = []
        reports: list[PacerReport] = []
        while not enough(laps, wanted):
            lap, report = await self._pace(order, lap_s, conditions)
            laps.append(lap)
            reports.append(report)
        used = calmest(laps, wanted)
        figure = of_histogram(name, phase, conditions, merged(used))
        self._keep(msgspec.structs.replace(figure, median_p95_ms=median_p95_ms(used)))
        self._note_rounds(laps, used, reports, conditions)

    async def _pace(
        self, order: PacerOrder, lap_s: float, conditions: str
    ) -> tuple[Lap, PacerReport]:
        """Have one round of messages sent, and wait until they have arrived."""
        key = report_key(self._pacer)
        store = self._manager.memory_store
        store.delete(NAMESPACE, key)
        # The order is a message like the paced ones; it is handled before the window opens.
        body = msgspec.to_builtins(order)
        await self._manager.request(None, self._pacer, body, timeout_s=_ANSWER_S)
        window = Window(self._metrics, Histogram.COMMUNICATION)
        shares = CpuShares(self._manager.pids)
        patience_s = lap_s * 1.5 + _SETTLE_S
        await self._until(lambda: store.get(NAMESPACE, key) is not None, "the pacer", patience_s)
        report = msgspec.convert(store.get(NAMESPACE, key), PacerReport)
        await self._until(lambda: window.count() >= report.accepted, "paced messages to arrive")
        others, _ = shares.others_percent()
        self._accepted += report.accepted
        self._note_faults(report, order, window.count(), conditions)
        counts, total_ns = window.samples()
        return Lap(counts=counts, total_ns=total_ns, others_percent=others or 0.0), report

    async def _pid_of_pacer(self) -> int:
        answer = await self._manager.request(None, self._pacer, "who", timeout_s=_ANSWER_S)
        return int(answer["pid"])

    def _note_rounds(
        self, laps: list[Lap], used: list[Lap], reports: list[PacerReport], conditions: str
    ) -> None:
        """Say what the pacing itself came to, and how much others disturbed it."""
        made = sum(each.accepted + each.refused + sum(each.errors.values()) for each in reports)
        seconds = sum(each.seconds for each in reports)

        def note(name: str, unit: str, value: float | None, samples: int, more: str = "") -> None:
            self.quantities.append(
                Quantity(
                    name=name,
                    unit=unit,
                    value=value,
                    samples=samples,
                    conditions=conditions + more,
                )
            )

        note("offered rate", "messages/s", made / seconds if seconds > 0 else None, made)
        note("sender's greatest delay", "ms", max(each.latest_ms for each in reports), made)
        most = max(lap.others_percent for lap in used)
        more = f"; the {len(used)} calmest count, in which others had at most {most:.1f} % each"
        note("rounds", "", float(len(laps)), made, more)

    def _note_faults(
        self, report: PacerReport, order: PacerOrder, count: int, conditions: str
    ) -> None:
        """Say what went wrong in a round."""
        done = report.accepted + report.refused + sum(report.errors.values())
        if done != order.messages:
            self.problems.append(f"the pacer made {done} of {order.messages} messages")
        if report.errors:
            self.problems.append(f"sending raised {report.errors} ({conditions})")
        if report.refused:
            self.problems.append(f"{report.refused} of {done} messages refused ({conditions})")
        if count != report.accepted:
            self.problems.append(
                f"{report.accepted} paced messages were accepted and {count} latencies recorded "
                f"({conditions})"
            )

    # --- load of another kind

    async def while_busy(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work while every worker but the sender's passes local messages without pause."""
        pacer_pid = await self._pid_of_pacer()
        busy = [ids for pid, ids in self._chatters.items() if pid != pacer_pid and len(ids) > 1]
        if not busy:
            self.problems.append("no worker but the sender's to keep busy; use 2 workers or more")
        for ids in busy:
            await self._begin_chat(ids[0], ids[1], tokens=4)
        try:
            await work()
        finally:
            for ids in busy:
                await self._end_chat(ids)

    async def measure_throughput(self, duration_s: float) -> None:
        """Count the messages that agents of different workers pass each other, closed loop."""
        name = "message throughput"
        groups = list(self._chatters.values())
        pairs = list(zip(*groups[:2], strict=False)) if len(groups) > 1 else []
        ids = [each for pair in pairs for each in pair]
        if not pairs:
            self.problems.append(f"{name}: needs two workers or more")
        before = await self._end_chat(ids)
        started = time.monotonic()
        for one, other in pairs:
            await self._begin_chat(one, other, tokens=16)
        await asyncio.sleep(duration_s)
        handled = await self._end_chat(ids) - before
        seconds = time.monotonic() - started
        self.quantities.append(
            Quantity(
                name=name,
                unit="messages/s",
                value=handled / seconds if handled else None,
                samples=handled,
                conditions=f"closed loop, {len(pairs)} pairs of agents in different workers",
            )
        )

    async def _begin_chat(self, one: int, other: int, *, tokens: int) -> None:
        request = self._manager.request
        await request(None, other, {"peer": one}, timeout_s=_ANSWER_S)
        await request(None, one, {"peer": other, "tokens": tokens}, timeout_s=_ANSWER_S)

    async def _end_chat(self, ids: Iterable[int]) -> int:
        """Silence agents: how many messages they have handled."""
        handled = 0
        for each in ids:
            answer = await self._manager.request(None, each, {"peer": 0}, timeout_s=_ANSWER_S)
            handled += int(answer["handled"])
        return handled

    # --- the system as a whole

    async def measure_agents_and_memory(self) -> None:
        """Ask every live agent for a sign of life, and add up the memory of all processes."""
        manager = self._manager
        answered = await manager.ping_agents(timeout_s=_PING_S)
        states = manager.statistics().agents.values()
        alive = sum(s.get("active", 0) + s.get("starting", 0) for s in states)
        conditions = "each asked itself"
        self.quantities.append(
            Quantity(
                name="live agents", unit="", value=answered, samples=alive, conditions=conditions
            )
        )
        if answered != alive:
            self.problems.append(f"{answered} of {alive} live agents answered")
        pids = manager.pids()
        total = memory_bytes(pids, manager.region_path)
        conditions = f"{len(pids)} processes and the region"
        self.quantities += [
            Quantity(
                name="memory",
                unit="MiB",
                value=total / (1 << 20),
                samples=len(pids),
                conditions=conditions,
            ),
            Quantity(
                name="memory per agent",
                unit="KiB",
                value=total / 1024 / answered if answered else None,
                samples=answered,
                conditions=conditions,
            ),
        ]

    async def account(self) -> Accounting:
        """What became of every message, once nothing is under way."""
        received = 0
        for each in self._paced_to:
            answer = await self._manager.request(None, each, "who", timeout_s=_ANSWER_S)
            received += int(answer["received"])
        read = self._metrics.read_counter

        def take() -> Accounting:
            return Accounting(
                sent=read(Counter.SENT),
                delivered=read(Counter.DELIVERED),
                refused=read(Counter.REFUSED),
                dead_lettered=read(Counter.DEAD_LETTERED),
                paced_accepted=self._accepted,
                paced_received=received,
            )

        # A reply leaves before its message is counted as delivered.
        await self._until(lambda: take().holds, "all messages to be accounted for", fault=False)
        accounting = take()
        if not accounting.holds:
            self.problems.append(f"the accounting does not hold: {accounting}")
        return accounting

    # --- helpers

    def _hosts(self) -> int:
        return len(self._manager.pids())

    async def _until(
        self,
        holds: Callable[[], Any],
        what: str,
        patience_s: float = _SETTLE_S,
        *,
        fault: bool = True,
    ) -> None:
        """Wait for something, so long; then it is a problem, unless the caller says otherwise."""
        until = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > until:
                if fault:
                    self.problems.append(f"waited {patience_s:g} s in vain for {what}")
                return
            await asyncio.sleep(_POLL_S)
