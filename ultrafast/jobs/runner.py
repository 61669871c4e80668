"""Does a plan: hands each task to its agent when those before it are done, and passes results on.

Stands on `plan`, `journal` and `given`, and on anything that offers the few calls of `JobHost`,
which the manager does. Decides the order and what failure means for others; prints nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any, Protocol, TypeAlias

import msgspec

from ultrafast.errors import AgentGone, JobChanged, TaskFailed, UltrafastError
from ultrafast.executor.executor import failed_result
from ultrafast.executor.tasks import Result, Task
from ultrafast.jobs.given import RESULTS_NAMESPACE, ResultMessage
from ultrafast.jobs.journal import Journal, Record
from ultrafast.jobs.plan import Plan

__all__ = ["Crew", "JobHost", "JobRunner", "JobStore", "Outcome", "check_resume"]

Place: TypeAlias = tuple[str, int]

_SYNC_EVERY_S = 1.0
_SEND_S = 5.0
_REPLACEMENTS = 2


class JobStore(Protocol):
    """The part of the shared store that a job writes."""

    def set(self, namespace: str, key: str, value: Any) -> Any:
        """Keep a value."""
        ...


class JobHost(Protocol):
    """The calls of the manager that a job makes."""

    @property
    def memory_store(self) -> JobStore:
        """The shared store."""
        ...

    async def spawn_agent(self, agent_type: str) -> int:
        """Make an agent."""
        ...

    async def send_message(
        self, sender: int | None, receiver: int, body: Any, *, timeout_s: float = 0.0
    ) -> bool:
        """Send; whether it was accepted."""
        ...

    async def execute_task(self, agent_id: int, task: Task) -> Result:
        """Have an agent do a task."""
        ...


class Crew:
    """The agents that do the tasks: by task type, shared out in turn, replaced when gone.

    Parameters
    ----------
    agents : mapping of str to sequence of int
        Agent ids by task type.
    agent_types : mapping of str to str
        The agent type to spawn in place of a lost agent, by task type.
    """

    def __init__(self, agents: Mapping[str, Sequence[int]], agent_types: Mapping[str, str]) -> None:
        self._agents = {each: list(ids) for each, ids in agents.items()}
        self._agent_types = dict(agent_types)
        self._places: dict[str, Place] = {}
        self._next = dict.fromkeys(self._agents, 0)

    def assign(self, task: Task) -> None:
        """Choose the agent that will do a task; it stays the same unless it is replaced."""
        if task.id not in self._places:
            turn = self._next[task.type]
            self._next[task.type] = (turn + 1) % len(self._agents[task.type])
            self._places[task.id] = (task.type, turn)

    def place_of(self, task_id: str) -> Place:
        """Where in the crew a task is done; the agent there may be replaced."""
        return self._places[task_id]

    def agent_of(self, task_id: str) -> int:
        """The agent that does a task, or did it."""
        task_type, turn = self._places[task_id]
        return self._agents[task_type][turn]

    async def replace(self, task_id: str, gone: int, host: JobHost) -> None:
        """Put a new agent in the place of one that is gone, unless that was done meanwhile."""
        task_type, turn = self._places[task_id]
        if self._agents[task_type][turn] == gone:
            fresh = await host.spawn_agent(self._agent_types[task_type])
            if self._agents[task_type][turn] == gone:
                self._agents[task_type][turn] = fresh


class Outcome(msgspec.Struct, kw_only=True):
    """What became of a plan's tasks in one run.

    Attributes
    ----------
    ok, failed : dict of str to Record
        Tasks done now, and tasks that failed now.
    resumed : dict of str to Record
        Tasks that an earlier run has done.
    skipped : dict of str to str
        Tasks that can't be done because of others, and the reason.
    not_done : tuple of str
        Tasks left for the next run.
    interrupted, failed_fast : bool
        Whether it was told to stop; and whether it stopped at the first failure.
    messages_sent : int
        Results passed from agent to agent.
    store_faults : list of str
        Results that the shared store did not take, and why; they are in the results file.
    duration_s : float
        From the first task's start to the last one's end.
    """

    ok: dict[str, Record] = msgspec.field(default_factory=dict)
    failed: dict[str, Record] = msgspec.field(default_factory=dict)
    resumed: dict[str, Record] = msgspec.field(default_factory=dict)
    skipped: dict[str, str] = msgspec.field(default_factory=dict)
    not_done: tuple[str, ...] = ()
    interrupted: bool = False
    failed_fast: bool = False
    messages_sent: int = 0
    store_faults: list[str] = msgspec.field(default_factory=list)
    duration_s: float = 0.0


def check_resume(plan: Plan, journal: Journal, source: str) -> dict[str, Record]:
    """The results that an earlier run has left for this plan.

    Parameters
    ----------
    plan : Plan
    journal : Journal
    source : str
        What this run asks: `api` or `loopback`.

    Returns
    -------
    dict of str to Record
        Of tasks with an answer; failed ones are done again.

    Raises
    ------
    JobChanged
        If a task with an answer was changed or is in the file no more, or if the answers came from
        elsewhere; the message names the ids.
    """
    answered = {each: record for each, record in journal.records.items() if record.ok}
    known = plan.tasks
    changed = [i for i, r in answered.items() if i in known and known[i].digest != r.digest]
    faulty = {fault.id for fault in plan.faults}
    gone = [each for each in answered if each not in known and each not in faulty]
    elsewhere = [each for each, record in answered.items() if record.source != source]
    said = []
    if changed:
        said.append(f"changed: {_some(changed)}")
    if gone:
        said.append(f"no longer there: {_some(gone)}")
    if said:
        raise JobChanged(
            f"{journal.path} has results of another tasks file; {'; '.join(said)}. "
            "Choose another folder, or put those tasks back as they were"
        )
    if elsewhere:
        raise JobChanged(
            f"{journal.path} has {len(elsewhere)} results that came from "
            f"{answered[elsewhere[0]].source}, and this run asks {source}: {_some(elsewhere)}. "
            "Choose another folder, so that the two are not mixed"
        )
    return {each: record for each, record in answered.items() if each in plan.tasks}


def _some(ids: Sequence[str], most: int = 20) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(map(repr, ids[:most])) + more


class JobRunner:
    """One run of a plan.

    Parameters
    ----------
    host : JobHost
        The manager.
    plan : Plan
    journal : Journal
        Results are appended to it.
    crew : Crew
        Has agents of every type in the plan.
    source : str
        Written into each record: `api` or `loopback`.
    resumed : mapping of str to Record
        Results of an earlier run; see `check_resume`.
    concurrency : int
        Tasks under way at most.
    stop : asyncio.Event
        Set from outside to end early: no further task begins.
    grace_s : float
        How long tasks under way may go on after that, before they are cancelled.
    fail_fast : bool
        End early, likewise, at the first failed task.
    on_start, on_record : callable, optional
        Told of each task's start, and of each result.

    Notes
    -----
    Threads: one event loop. A result is in the file before anybody is told of it.
    """

    def __init__(
        self,
        host: JobHost,
        plan: Plan,
        journal: Journal,
        crew: Crew,
        *,
        source: str,
        resumed: Mapping[str, Record],
        concurrency: int,
        stop: asyncio.Event,
        grace_s: float = 5.0,
        fail_fast: bool = False,
        on_start: Callable[[Task], None] | None = None,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self._host = host
        self._plan = plan
        self._journal = journal
        self._crew = crew
        self._source = source
        self._concurrency = concurrency
        self._stop = stop
        self._grace_s = grace_s
        self._fail_fast = fail_fast
        self._on_start = on_start
        self._on_record = on_record
        self._outcome = Outcome(resumed=dict(resumed), skipped=dict(plan.unreachable))
        self._texts: dict[str, str] = {}
        self._delivered: dict[str, dict[str, int]] = {each: {} for each in plan.tasks}
        self._waiting: dict[str, int] = {}
        # An agent does one task at a time, so tasks queue for their place in the crew.
        self._queues: dict[Place, list[tuple[int, str]]] = defaultdict(list)
        self._startable: list[tuple[int, Place]] = []
        self._busy: set[Place] = set()

    async def run(self) -> Outcome:
        """Do what can be done.

        Returns
        -------
        Outcome

        Raises
        ------
        OSError
            If results can't be written; tasks under way are cancelled first.
        """
        self._prepare()
        started = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        ending = asyncio.create_task(self._stopped())
        syncing = asyncio.create_task(self._keep_syncing())
        try:
            while not self._ends_early:
                while self._startable and len(running) < self._concurrency:
                    running.add(asyncio.create_task(self._do(self._next())))
                if not running:
                    break
                waited = running | {ending, syncing}
                done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                running -= done
                for each in done:
                    each.result()  # results that can't be written end the run
            if running:
                done, running = await asyncio.wait(running, timeout=self._grace_s)
                for each in done:
                    each.result()
        finally:
            for each in (*running, ending, syncing):
                each.cancel()
            await asyncio.wait({*running, ending, syncing}, timeout=self._grace_s)
            await asyncio.to_thread(self._journal.sync)
        outcome = self._outcome
        outcome.interrupted = self._stop.is_set()
        outcome.duration_s = time.perf_counter() - started
        settled = (outcome.ok, outcome.failed, outcome.resumed, outcome.skipped)
        outcome.not_done = tuple(
            each for each in self._plan.tasks if not any(each in group for group in settled)
        )
        return outcome

    @property
    def _ends_early(self) -> bool:
        return self._stop.is_set() or self._outcome.failed_fast

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _keep_syncing(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_EVERY_S)
            await asyncio.to_thread(self._journal.sync)

    def _prepare(self) -> None:
        outcome = self._outcome
        if self._stop.is_set():
            return  # told to stop before there was a crew
        for each, record in outcome.resumed.items():
            self._keep(each, record.text)
        for each, planned in self._plan.tasks.items():
            if each in outcome.resumed or each in outcome.skipped:
                continue
            self._crew.assign(planned.task)
            missing = sum(before not in outcome.resumed for before in self._plan.after(each))
            self._waiting[each] = missing
            if not missing:
                self._is_ready(each)

    def _is_ready(self, task_id: str) -> None:
        place = self._crew.place_of(task_id)
        queue = self._queues[place]
        heappush(queue, (self._plan.tasks[task_id].line, task_id))
        if place not in self._busy and len(queue) == 1:
            heappush(self._startable, (queue[0][0], place))

    def _next(self) -> str:
        """The task to begin now: first in the file of those whose agent is free."""
        _, place = heappop(self._startable)
        self._busy.add(place)
        return heappop(self._queues[place])[1]

    def _is_free(self, place: Place) -> None:
        self._busy.discard(place)
        if queue := self._queues[place]:
            heappush(self._startable, (queue[0][0], place))

    async def _do(self, task_id: str) -> None:
        """One task, from its readiness to the messages that carry its result on."""
        task = self._plan.tasks[task_id].task
        if self._on_start is not None:
            self._on_start(task)
        started = time.perf_counter()
        try:
            result = await self._execute(task)
        except (UltrafastError, TimeoutError) as error:
            result = failed_result(task, error, duration_s=time.perf_counter() - started)
        self._is_free(self._crew.place_of(task_id))
        record = Record(
            **msgspec.structs.asdict(result),
            type=task.type,
            digest=self._plan.tasks[task_id].digest,
            source=self._source,
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        self._journal.append(record)
        if record.ok:
            self._outcome.ok[task_id] = record
            self._keep(task_id, record.text)
        else:
            self._outcome.failed[task_id] = record
            self._outcome.failed_fast |= self._fail_fast
            for later, reason in self._plan.blocked_by({task_id: "failed"}).items():
                self._outcome.skipped.setdefault(later, reason)
        if self._on_record is not None:
            self._on_record(record)
        if record.ok:
            for later in self._plan.successors[task_id]:
                if later in self._waiting:
                    await self._pass_on(task_id, later)

    async def _pass_on(self, task_id: str, later: str) -> None:
        """Send a result to the agent of a later task, which is ready with its last one."""
        try:
            await self._deliver(task_id, later)
        except UltrafastError:
            pass  # the later task tries again when it begins, and fails with the reason if need be
        self._waiting[later] -= 1
        if not self._waiting[later] and later not in self._outcome.skipped:
            self._is_ready(later)

    async def _execute(self, task: Task) -> Result:
        for attempt in range(_REPLACEMENTS + 1):
            agent = self._crew.agent_of(task.id)
            try:
                for before in self._plan.after(task.id):
                    await self._deliver(before, task.id)
                return await self._host.execute_task(agent, task)
            except AgentGone:
                if attempt == _REPLACEMENTS:
                    raise
                await self._crew.replace(task.id, agent, self._host)
        raise AssertionError("the loop above returns or raises")

    async def _deliver(self, task_id: str, later: str) -> None:
        """Send a result to the agent of a later task, unless that agent has it."""
        receiver = self._crew.agent_of(later)
        if self._delivered[later].get(task_id) == receiver:
            return
        # The agent that made a result of an earlier run is no more: nobody is its sender.
        sender = None if task_id in self._outcome.resumed else self._crew.agent_of(task_id)
        message = ResultMessage(task_id=task_id, wanted_by=later, text=self._texts[task_id])
        body = msgspec.to_builtins(message)
        accepted = await self._host.send_message(sender, receiver, body, timeout_s=_SEND_S)
        if not accepted:
            raise TaskFailed(
                f"the result of {task_id!r} could not be sent to agent {receiver}, which was to do "
                f"{later!r}: it took no message for {_SEND_S:g} s"
            )
        self._delivered[later][task_id] = receiver
        self._outcome.messages_sent += 1

    def _keep(self, task_id: str, text: str) -> None:
        """Put a result into the shared store, where any agent can read it."""
        self._texts[task_id] = text
        try:
            self._host.memory_store.set(RESULTS_NAMESPACE, task_id, {"text": text})
        except UltrafastError as error:
            self._outcome.store_faults.append(f"{task_id}: {error}")
